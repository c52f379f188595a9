"""Finding a transformer with joint attention in a model, and the file that knows its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from . import bfl_chroma, bfl_flux, diffusers_chroma, diffusers_flux, diffusers_sd3, mmdit
from .blocks import JointBlock, TextStream


class FamilyModule(Protocol):
    """What a family's file answers. ``PARTS``: attributes that only such a model has. ``ARGUMENTS``: names of its
    forward's positional arguments. ``OWN_POOLED``: the negative brings along, beside its text, what
    stream() takes as ``pooled``: a pooled embedding; in diffusers' Chroma a mask."""

    PARTS: tuple[str, ...]
    ARGUMENTS: tuple[str, ...]
    OWN_POOLED: bool

    def blocks(self, model: Any) -> Sequence[JointBlock]: ...

    def stream(
        self, model: Any, call: Mapping[str, Any], rows: tuple[int, ...], text: Tensor, pooled: Tensor | None
    ) -> TextStream: ...


# the more particular ones first
FAMILIES: tuple[Any, ...] = (diffusers_chroma, diffusers_flux, bfl_flux, bfl_chroma, diffusers_sd3, mmdit)


@dataclass(frozen=True)
class Transformer:
    """``module``: whose forward is one model call. ``family``: see FamilyModule."""

    module: nn.Module
    family: Any


def find_transformer(model: nn.Module) -> Transformer | None:
    """The transformer in ``model`` (itself, or wrapped as in a WebUI), nearest to the top; None where there is none."""
    level = [model] if isinstance(model, nn.Module) else []
    for _ in range(4):
        for module in level:
            for family in FAMILIES:
                if all(hasattr(module, part) for part in family.PARTS):
                    return Transformer(module, family)
        level = [child for module in level for child in module.children()]
    return None
