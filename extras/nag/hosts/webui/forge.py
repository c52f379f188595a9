"""Forge, reForge, Forge Classic and Neo: the network says by itself which of its rows are conditional.

``forge_objects.unet`` is a patcher, made anew for every pass; the network in it stays. CFG 1 leaves the
unconditional rows out. Weights may be offloaded, in 8 bits or patched while they are used: layers are called as
modules, so that does not matter here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...branches.text import ProjectContexts
from .rows import rows_of_options

_MODIFIERS = "conditioning_modifiers"  # of the patcher's options, called before the model in each evaluation with
_SCALE = 5  # (model, x, sigma, uncond, cond, CFG scale, options, seed), and return the same


class Forge:
    """``forge_objects.unet.model.diffusion_model`` denoises; a conditioning modifier changes the CFG scale."""

    def __init__(self) -> None:
        self._cfg: tuple[dict[str, Any], Any] | None = None  # (options, their own modifiers) while ours is in place
        self._error: Exception | None = None  # of the rule for the CFG scale
        self._texts: tuple[Tensor | None, Tensor | None] = None, None  # of this evaluation: cond, uncond

    def network(self, sd_model: Any) -> Any:
        return sd_model.forge_objects.unet.model.diffusion_model

    def identity(self, sd_model: Any) -> Hashable:
        info = getattr(sd_model, "sd_checkpoint_info", None)
        # Neo's quick refiner loads other weights into the same network, and remembers here whose were in it
        swapped = getattr(sys.modules.get("modules.sd_samplers_common"), "ORIGINAL_CHECKPOINT", None)
        return id(sd_model), id(self.network(sd_model)), getattr(info, "filename", None), swapped

    def adapters(self, sd_model: Any) -> Hashable:
        return str(getattr(sd_model, "current_lora_hash", ""))

    def project_contexts(self) -> ProjectContexts | None:
        return None  # these hosts have no hypernetworks

    def begin_rows(self, params: Any) -> None:
        self._texts = _crossattn(params.text_cond), _crossattn(params.text_uncond)

    def end_rows(self) -> None:
        self._texts = None, None

    def rows(self, count: int, kwargs: Mapping[str, Any]) -> list[tuple[int, int]]:
        options = kwargs.get("transformer_options") or {}
        if 1 not in options.get("cond_or_uncond", ()) and self._is_uncond(kwargs.get("context")):
            return []
        return rows_of_options(options, count)

    def _is_uncond(self, context: Any) -> bool:
        """Self-attention guidance asks for the unconditional prediction under the name of the conditional one."""
        cond, uncond = self._texts
        if uncond is None or context is None or cond is None:
            return False
        return _begins_with(context, uncond) and not _begins_with(context, cond)

    def set_cfg(self, params: Any, rule: Callable[[float], float]) -> None:
        options = params.denoiser.inner_model.inner_model.forge_objects.unet.model_options
        own = options.get(_MODIFIERS)

        def modify(*arguments: Any) -> tuple[Any, ...]:
            try:
                scale = rule(float(arguments[_SCALE]))
            except Exception as error:  # told by restore_cfg()
                self._error = error
                return arguments
            return (*arguments[:_SCALE], scale, *arguments[_SCALE + 1 :])

        self._cfg = (options, own)
        options[_MODIFIERS] = [*(own or ()), modify]  # a new list: copies of the patcher share the old one

    def restore_cfg(self) -> None:
        kept, self._cfg = self._cfg, None
        if kept is not None:
            options, own = kept
            if own is None:
                options.pop(_MODIFIERS, None)
            else:
                options[_MODIFIERS] = own
        error, self._error = self._error, None
        if error is not None:
            raise error

    def skip_uncond(self, params: Any) -> str:
        return "this host leaves the unused half out by itself"

    def make_ready(self, sd_model: Any, x: Any) -> None:
        """Loading the text encoder may have moved the network off its device."""
        from modules import sd_samplers_common

        sd_samplers_common.sampling_prepare(sd_model.forge_objects.unet, x=x)


def _crossattn(cond: Any) -> Tensor | None:
    return cond["crossattn"] if isinstance(cond, Mapping) else cond


def _begins_with(context: Tensor, text: Tensor) -> bool:
    return context.shape[1:] == text.shape[1:] and torch.equal(context[0], text[0].to(context))
