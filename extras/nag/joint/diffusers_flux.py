"""Flux in diffusers (FluxTransformer2DModel): double blocks, then single blocks; text tokens stand first.

The image is modulated by the prompt's pooled embedding, the negative text by the negative's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..kept import rows_of
from .blocks import Reader, TextHeads, TextStream, output_as, rotate, split

PARTS = ("transformer_blocks", "single_transformer_blocks", "x_embedder", "context_embedder", "time_text_embed")
ARGUMENTS = (
    "hidden_states",
    "encoder_hidden_states",
    "pooled_projections",
    "timestep",
    "img_ids",
    "txt_ids",
    "guidance",
)
OWN_POOLED = True
_HALF_MAX = 65504.0


class FluxBlock:
    """What double and single blocks share: attention with q/k norm and rotary embedding."""

    arguments: tuple[str, ...] = ("hidden_states", "encoder_hidden_states", "temb", "image_rotary_emb")
    image_name, text_first = "hidden_states", True

    def __init__(self, name: str, notation: str, alias: str, block: Any):
        self.name, self.notation, self.alias, self.block, self.last = name, notation, alias, block, False
        self.attn: Any = block.attn
        self.module: nn.Module = self.attn
        self.heads = int(self.attn.heads)
        self.width = int(self.attn.inner_dim)

    @property
    def captures(self) -> Sequence[tuple[nn.Module, Reader]]:
        attn = self.attn
        return [(attn.norm_q, output_as("q")), (attn.norm_k, output_as("k")), (attn.to_v, output_as("v"))]

    def image_heads(
        self, captured: Mapping[str, Tensor], rows: Tensor | slice, call: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        skip = self._skipped(call)
        # the norms see (rows, tokens, heads, size), the values are still (rows, tokens, width)
        q, k = (captured[name][rows, skip:].transpose(1, 2) for name in "qk")
        v = split(captured["v"][rows, skip:], self.heads)
        rotary = call.get("image_rotary_emb")
        if rotary is not None:
            cos, sin = (part[-q.shape[2] :] for part in rotary)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return q, k, v

    def _skipped(self, call: Mapping[str, Any]) -> int:
        """Tokens before the image's in what the captured modules see."""
        return 0

    def _rotate_own(self, x: Tensor, stream: TextStream, call: Mapping[str, Any]) -> Tensor:
        rotary = call.get("image_rotary_emb")
        if rotary is None:
            return x
        at = positions(stream, int(call["text_tokens"]), rotary[0].shape[0], rotary[0].device)
        return rotate(x, rotary[0][at], rotary[1][at])

    def _modulation(self, stream: TextStream, call: Mapping[str, Any]) -> Any:
        """What the block's norms take as ``emb``."""
        return stream.temb

    def image_in(self, call: Mapping[str, Any]) -> Tensor | None:
        return None


class FluxDouble(FluxBlock):
    """transformer_blocks.N: image and text with weights of their own."""

    at_input = True

    @property
    def target(self) -> nn.Module:
        return self.attn.to_out[0]

    def image(self, tokens: Tensor, call: Mapping[str, Any]) -> tuple[int, int]:
        return 0, tokens.shape[1]

    def open(self, stream: TextStream, call: Mapping[str, Any]) -> TextHeads:
        block, attn = self.block, self.attn
        emb = self._modulation(stream, call)
        x, gate, shift_mlp, scale_mlp, gate_mlp = block.norm1_context(stream.text, emb=emb)
        q = attn.norm_added_q(split(attn.add_q_proj(x), self.heads))
        k = attn.norm_added_k(split(attn.add_k_proj(x), self.heads))
        v = split(attn.add_v_proj(x), self.heads)
        kept = (gate, shift_mlp, scale_mlp, gate_mlp)
        return TextHeads(self._rotate_own(q, stream, call), self._rotate_own(k, stream, call), v, kept)

    def close(self, stream: TextStream, z: Tensor, heads: TextHeads) -> Tensor:
        gate, shift_mlp, scale_mlp, gate_mlp = heads.kept
        text = stream.text + gate.unsqueeze(1) * self.attn.to_add_out(z)
        x = self.block.norm2_context(text) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
        return finite(text + gate_mlp.unsqueeze(1) * self.block.ff_context(x))


class FluxSingle(FluxBlock):
    """single_transformer_blocks.N: text and image in one sequence, attention and feed-forward side by
    side."""

    at_input = False

    @property
    def target(self) -> nn.Module:
        return self.attn

    def image(self, tokens: Tensor, call: Mapping[str, Any]) -> tuple[int, int]:
        return int(call["text_tokens"]), tokens.shape[1]

    def _skipped(self, call: Mapping[str, Any]) -> int:
        return int(call["text_tokens"])

    def open(self, stream: TextStream, call: Mapping[str, Any]) -> TextHeads:
        attn = self.attn
        x, gate = self.block.norm(stream.tokens, emb=self._modulation(stream, call))
        q = attn.norm_q(split(attn.to_q(x), self.heads))
        k = attn.norm_k(split(attn.to_k(x), self.heads))
        v = split(attn.to_v(x), self.heads)
        return TextHeads(self._rotate_own(q, stream, call), self._rotate_own(k, stream, call), v, (x, gate))

    def image_in(self, call: Mapping[str, Any]) -> Tensor | None:
        tokens: Tensor = call["hidden_states"]
        apart = call.get("encoder_hidden_states") is not None  # Chroma, and Flux of older versions: one sequence
        return tokens if apart else tokens[:, int(call["text_tokens"]) :]

    def close(self, stream: TextStream, z: Tensor, heads: TextHeads) -> Tensor:
        x, gate = heads.kept
        block = self.block
        both = torch.cat([z, block.act_mlp(block.proj_mlp(x))], dim=2)
        return finite(stream.tokens + gate.unsqueeze(1) * block.proj_out(both))


def positions(stream: TextStream, text_tokens: int, every: int, device: torch.device) -> Tensor:
    """Places of ``stream.tokens`` in the prompt's sequence of ``every`` tokens. Text positions do not differ in Flux;
    a longer negative repeats the last."""
    at = torch.arange(stream.text.shape[1], device=device).clamp_max(max(text_tokens - 1, 0))
    return at if stream.image is None else torch.cat([at, torch.arange(text_tokens, every, device=device)])


def finite(text: Tensor) -> Tensor:
    return text.clip(-_HALF_MAX, _HALF_MAX) if text.dtype == torch.float16 else text


def blocks(model: Any, double: type[FluxDouble] = FluxDouble, single: type[FluxSingle] = FluxSingle) -> list[FluxBlock]:
    """All blocks of a FluxTransformer2DModel in the order they run, each as one of the two classes."""
    found: list[FluxBlock] = [
        double(f"transformer_blocks.{i}.attn", f"t{i}", f"double_blocks.{i}", block)
        for i, block in enumerate(model.transformer_blocks)
    ]
    found += [
        single(f"single_transformer_blocks.{i}.attn", f"s{i}", f"single_blocks.{i}", block)
        for i, block in enumerate(model.single_transformer_blocks)
    ]
    if found:
        found[-1].last = True
    return found


def stream(
    model: Any, call: Mapping[str, Any], rows: tuple[int, ...], text: Tensor, pooled: Tensor | None
) -> TextStream:
    """The negatives at the entrance of the model. ``text``: (rows, tokens, channels) of the sequence encoder,
    ``pooled``: (rows, channels) of the other; None takes the prompt's. ``call``: the forward's arguments."""
    dtype = call["hidden_states"].dtype
    timestep = rows_of(call["timestep"], rows).to(dtype) * 1000
    pooled = rows_of(call["pooled_projections"], rows) if pooled is None else pooled.to(call["pooled_projections"])
    guidance = call.get("guidance")
    if guidance is None:
        temb = model.time_text_embed(timestep, pooled)
    else:
        temb = model.time_text_embed(timestep, rows_of(guidance, rows).to(dtype) * 1000, pooled)
    prompt = call["encoder_hidden_states"]
    return TextStream(rows, model.context_embedder(text.to(prompt)), temb, prompt.shape[1])
