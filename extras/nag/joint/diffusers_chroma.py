"""Chroma in diffusers (ChromaTransformer2DModel): Flux without a pooled embedding, and with a mask over its text.

One network makes the modulations of all blocks, of the time alone, and they are handed to each block: the negative's
text has the prompt's. Beside a text comes its mask, where Flux has the pooled embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..kept import rows_of
from . import diffusers_flux
from .blocks import TextStream
from .diffusers_flux import FluxBlock, FluxDouble, FluxSingle

PARTS = ("transformer_blocks", "single_transformer_blocks", "context_embedder", "distilled_guidance_layer")
ARGUMENTS = ("hidden_states", "encoder_hidden_states", "timestep", "img_ids", "txt_ids", "attention_mask")
OWN_POOLED = True
_IMAGE_PARTS = 6  # shift, scale, gate of attention and feed-forward stand before those of the text


class ChromaDouble(FluxDouble):
    """transformer_blocks.N."""

    def _modulation(self, stream: TextStream, call: Mapping[str, Any]) -> Any:
        return rows_of(call["temb"], stream.rows)[:, _IMAGE_PARTS:]


class ChromaSingle(FluxSingle):
    """single_transformer_blocks.N."""

    arguments = ("hidden_states", "temb", "image_rotary_emb")

    def _modulation(self, stream: TextStream, call: Mapping[str, Any]) -> Any:
        return rows_of(call["temb"], stream.rows)


def blocks(model: Any) -> list[FluxBlock]:
    """All blocks in the order they run."""
    return diffusers_flux.blocks(model, ChromaDouble, ChromaSingle)


def stream(
    model: Any, call: Mapping[str, Any], rows: tuple[int, ...], text: Tensor, pooled: Tensor | None
) -> TextStream:
    """The negatives at the entrance of the model; see diffusers_flux.stream. ``pooled``: (rows, tokens), the mask."""
    prompt, given = call["encoder_hidden_states"], call.get("attention_mask")
    mask = None if pooled is None or given is None else pooled.to(given)
    return TextStream(rows, model.context_embedder(text.to(prompt)), None, prompt.shape[1], mask)
