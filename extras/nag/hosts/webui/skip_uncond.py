"""A1111 at CFG 1: the unconditional half changes nothing, so its rows can be left out of the call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def skip_uncond(params: Any, conds_list: Sequence[Sequence[tuple[int, float]]]) -> str:
    """Take the unconditional rows out of the evaluation that on_cfg_denoiser announces; returns why not, or "".

    Without them the host's own formula, uncond + (cond - uncond), has cond in both places.
    """
    from modules import prompt_parser

    rows = len(conds_list)
    reason = _reason(params, conds_list)
    if reason:
        return reason
    params.x, params.sigma, params.image_cond = params.x[:rows], params.sigma[:rows], params.image_cond[:rows]
    cond = params.text_cond
    if isinstance(cond, dict):
        nothing = {key: value[:0] for key, value in cond.items()}
        params.text_uncond = prompt_parser.DictWithShape(nothing, cond["crossattn"][:0].shape)
    else:
        params.text_uncond = cond[:0]
    return ""


def _reason(params: Any, conds_list: Sequence[Sequence[tuple[int, float]]]) -> str:
    from modules import shared

    denoiser, arguments = params.denoiser, params.denoiser.sampler.sampler_extra_args
    if float(arguments.get("cond_scale", 0)) != 1.0:
        return "CFG is not 1"
    if any(len(parts) != 1 or parts[0][1] != 1.0 for parts in conds_list):
        return "AND needs the unconditional half"
    if denoiser.need_last_noise_uncond or params.x.shape[0] != 2 * len(conds_list):
        return "this sampler or model needs the unconditional half"
    if shared.opts.skip_early_cond or arguments.get("s_min_uncond"):
        return "a setting of the host skips it already"
    return ""
