"""A1111 and the Studio: the network is called with rows in the order that on_cfg_denoiser shows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from ...branches.text import ProjectContexts
from .rows import RowCounter


class A1111:
    """``p.sd_model.model`` denoises; the denoiser has a multiplier of the CFG scale."""

    def __init__(self) -> None:
        self._rows = RowCounter()
        self._asked: Any = None  # the denoiser's model, with a hook of ours in it
        self._handle: Any = None
        self._error: Exception | None = None
        self._cfg: tuple[Any, float] | None = None  # (denoiser, its own multiplier) while ours is in place

    def network(self, sd_model: Any) -> Any:
        return sd_model.model

    def identity(self, sd_model: Any) -> Hashable:
        info = getattr(sd_model, "sd_checkpoint_info", None)
        return id(sd_model.model), getattr(info, "filename", None), getattr(sd_model, "sd_model_hash", None)

    def adapters(self, sd_model: Any) -> Hashable:
        loaded = getattr(sys.modules.get("networks"), "loaded_networks", ())  # the host's own LoRA extension
        networks = tuple(
            (net.name, net.te_multiplier, net.unet_multiplier, getattr(net, "dyn_dim", None)) for net in loaded
        )
        return networks, tuple((net.name, getattr(net, "multiplier", 1.0)) for net in _hypernetworks())

    def project_contexts(self) -> ProjectContexts | None:
        if not _hypernetworks():
            return None
        from modules.hypernetworks import hypernetwork

        return lambda attn, context: hypernetwork.apply_hypernetworks(_hypernetworks(), context, attn)

    def begin_rows(self, params: Any) -> None:
        self._rows.begin(conds_list(params.denoiser))
        model = params.denoiser.inner_model  # called once for each call of the host, whatever is made of it inside
        if model is not self._asked:
            self.end_rows()
            self._asked = model
            self._handle = model.register_forward_pre_hook(self._host_call, with_kwargs=True)

    def _host_call(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self._rows.host_call((args[0] if args else kwargs["input"]).shape[0])
        except Exception as error:  # told by the model call in it
            self._error = error

    def end_rows(self) -> None:
        handle, self._handle, self._asked = self._handle, None, None
        if handle is not None:
            handle.remove()

    def rows(self, count: int, kwargs: Mapping[str, Any]) -> list[tuple[int, int]]:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._rows.take(count)

    def set_cfg(self, params: Any, rule: Callable[[float], float]) -> None:
        denoiser = params.denoiser
        if _skips_uncond(params):
            rule(1.0)
            return
        own = denoiser.cond_scale_miltiplier  # the host's spelling; read after the model call
        scale = float(denoiser.sampler.sampler_extra_args["cond_scale"]) * own
        wanted = rule(scale)
        if wanted != scale and scale:
            self._cfg = (denoiser, own)
            denoiser.cond_scale_miltiplier = own * wanted / scale

    def restore_cfg(self) -> None:
        if self._cfg is not None:
            denoiser, own = self._cfg
            denoiser.cond_scale_miltiplier, self._cfg = own, None

    def skip_uncond(self, params: Any) -> str:
        from .skip_uncond import skip_uncond

        return skip_uncond(params, conds_list(params.denoiser))

    def make_ready(self, sd_model: Any, x: Any) -> None:
        """The host moves its text encoder away by itself."""


def conds_list(denoiser: Any) -> Sequence[Sequence[tuple[int, float]]]:
    """For each image its (row, weight) pairs, as the host is going to stack them."""
    from modules import prompt_parser

    cond = denoiser.sampler.sampler_extra_args["cond"]
    return prompt_parser.reconstruct_multicond_batch(cond, denoiser.step)[0]


def _skips_uncond(params: Any) -> bool:
    """Whether the host is going to leave the unconditional half out, by its settings for early and late steps."""
    from modules import shared

    denoiser, opts = params.denoiser, shared.opts
    if opts.skip_early_cond and denoiser.step / denoiser.total_steps <= opts.skip_early_cond:
        return True
    low = denoiser.sampler.sampler_extra_args.get("s_min_uncond") or 0.0
    return bool((denoiser.step % 2 or opts.s_min_uncond_all) and low > 0 and params.sigma[0] < low)


def _hypernetworks() -> Sequence[Any]:
    from modules import shared

    return getattr(shared, "loaded_hypernetworks", None) or ()
