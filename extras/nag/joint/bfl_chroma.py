"""Chroma in the layout of Flux's authors, as Forge and Forge Neo have it: Flux without a pooled embedding.

One network makes the modulations of all blocks, of the time alone, and they are handed to each block: the negative's
text has the prompt's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..kept import rows_of
from . import bfl_flux
from .bfl_flux import BflBlock, BflDouble, BflSingle
from .blocks import TextStream

PARTS = ("double_blocks", "single_blocks", "txt_in", "distilled_guidance_layer")
ARGUMENTS = ("x", "timestep", "context")
OWN_POOLED = False


class ChromaDouble(BflDouble):
    """double_blocks.N."""

    arguments = ("img", "txt", "mod", "pe")

    def _modulation(self, stream: TextStream, call: Mapping[str, Any]) -> Sequence[Tensor]:
        attention, feed_forward = _given(call)[1]  # 0 is the image's
        return [*_of_rows(attention, stream), *_of_rows(feed_forward, stream)]


class ChromaSingle(BflSingle):
    """single_blocks.N."""

    arguments = ("x", "mod", "pe")

    def _modulation(self, stream: TextStream, call: Mapping[str, Any]) -> Sequence[Tensor]:
        return _of_rows(_given(call), stream)


def _given(call: Mapping[str, Any]) -> Any:
    """What the block is modulated with: Forge names it mod, Neo has one name with Flux."""
    return call["mod"] if "mod" in call else call["vec"]


def _of_rows(mod: Any, stream: TextStream) -> list[Tensor]:
    """shift, scale, gate of the stream's rows: (rows, 1, width) each."""
    return [rows_of(part, stream.rows) for part in (mod.shift, mod.scale, mod.gate)]


def blocks(model: Any) -> list[BflBlock]:
    """All blocks in the order they run."""
    return bfl_flux.blocks(model, ChromaDouble, ChromaSingle)


def stream(
    model: Any, call: Mapping[str, Any], rows: tuple[int, ...], text: Tensor, pooled: Tensor | None
) -> TextStream:
    """The negatives at the entrance of the model; see diffusers_flux.stream."""
    prompt = call["context"]
    return TextStream(rows, model.txt_in(text.to(prompt)), None, prompt.shape[1])
