"""Flux in its authors' layout (double_blocks, single_blocks), as Forge and Forge Neo have it; text tokens stand first.

Other than in diffusers, q, k and v come out of one projection, and in the single blocks the feed-forward with
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..kept import as_index, rows_of
from .blocks import Reader, TextHeads, TextStream
from .diffusers_flux import finite, positions

PARTS = ("double_blocks", "single_blocks", "txt_in", "time_in", "vector_in")
ARGUMENTS = ("x", "timestep", "context", "y", "guidance")
OWN_POOLED = True


class BflBlock:
    """What double and single blocks share."""

    at_input = True
    image_name, text_first = "img", True

    def __init__(self, name: str, notation: str, alias: str, block: Any, norm: Any):
        self.name, self.notation, self.alias = name, notation, alias
        self.block, self.norm, self.last = block, norm, False
        self.module: nn.Module = block
        # 0 where the block does not know it (Neo's single ones): blocks() fills it in
        self.heads, self.width = int(getattr(block, "num_heads", 0)), int(block.hidden_size)

    @property
    def captures(self) -> Sequence[tuple[nn.Module, Reader]]:
        # norm(q, k, v) -> (q, k), all (rows, heads, tokens, size)
        return [(self.norm, lambda args, output: {"q": output[0], "k": output[1], "v": args[2]})]

    def image_heads(
        self, captured: Mapping[str, Tensor], rows: Tensor | slice, call: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        skip = self._skipped(call)
        q, k, v = (captured[name][rows, :, skip:] for name in "qkv")
        pe = _of_rows(call["pe"], rows)[:, :, -q.shape[2] :]
        return turn(q, pe), turn(k, pe), v

    def _skipped(self, call: Mapping[str, Any]) -> int:
        return 0

    def image_in(self, call: Mapping[str, Any]) -> Tensor | None:
        return None

    def _heads(self, qkv: Tensor, norm: Any, stream: TextStream, call: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """q, k, v of the text from the joint projection's output (rows, tokens, 3 x width)."""
        n, tokens, _ = qkv.shape
        q, k, v = qkv.view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = norm(q, k, v)
        own = positions(stream, int(call["text_tokens"]), call["pe"].shape[2], qkv.device)
        pe = _of_rows(call["pe"], as_index(stream.rows, qkv.device))[:, :, own]
        return turn(q, pe), turn(k, pe), v


class BflDouble(BflBlock):
    """double_blocks.N: image and text with weights of their own."""

    arguments = ("img", "txt", "vec", "pe")

    def __init__(self, number: int, block: Any):
        names = (f"double_blocks.{number}", f"t{number}", f"transformer_blocks.{number}.attn")
        super().__init__(*names, block, block.img_attn.norm)

    @property
    def target(self) -> nn.Module:
        proj: nn.Module = self.block.img_attn.proj
        return proj

    def image(self, tokens: Tensor, call: Mapping[str, Any]) -> tuple[int, int]:
        return 0, tokens.shape[1]

    def open(self, stream: TextStream, call: Mapping[str, Any]) -> TextHeads:
        block = self.block
        shift, scale, *gates = self._modulation(stream, call)
        x = (1 + scale) * block.txt_norm1(stream.text) + shift
        q, k, v = self._heads(block.txt_attn.qkv(x), block.txt_attn.norm, stream, call)
        return TextHeads(q, k, v, tuple(gates))

    def _modulation(self, stream: TextStream, call: Mapping[str, Any]) -> Sequence[Tensor]:
        """shift, scale, gate of the attention, then of the feed-forward: (rows, 1, width) each."""
        return _flat(self.block.txt_mod(stream.temb))

    def close(self, stream: TextStream, z: Tensor, heads: TextHeads) -> Tensor:
        gate, shift_mlp, scale_mlp, gate_mlp = heads.kept
        block = self.block
        text = stream.text + gate * block.txt_attn.proj(z)
        return finite(text + gate_mlp * block.txt_mlp((1 + scale_mlp) * block.txt_norm2(text) + shift_mlp))


class BflSingle(BflBlock):
    """single_blocks.N: text and image in one sequence, attention and feed-forward side by side."""

    arguments = ("x", "vec", "pe")

    def __init__(self, number: int, block: Any):
        names = (f"single_blocks.{number}", f"s{number}", f"single_transformer_blocks.{number}.attn")
        super().__init__(*names, block, block.norm)

    @property
    def target(self) -> nn.Module:
        linear: nn.Module = self.block.linear2
        return linear

    def image(self, tokens: Tensor, call: Mapping[str, Any]) -> tuple[int, int]:
        return int(call["text_tokens"]), tokens.shape[1]

    def _skipped(self, call: Mapping[str, Any]) -> int:
        return int(call["text_tokens"])

    def open(self, stream: TextStream, call: Mapping[str, Any]) -> TextHeads:
        block = self.block
        shift, scale, gate = self._modulation(stream, call)
        x = (1 + scale) * block.pre_norm(stream.tokens) + shift
        qkv, mlp = torch.split(block.linear1(x), [3 * self.width, block.mlp_hidden_dim], dim=-1)
        q, k, v = self._heads(qkv, block.norm, stream, call)
        return TextHeads(q, k, v, (mlp, gate))

    def _modulation(self, stream: TextStream, call: Mapping[str, Any]) -> Sequence[Tensor]:
        return _flat(self.block.modulation(stream.temb))

    def close(self, stream: TextStream, z: Tensor, heads: TextHeads) -> Tensor:
        mlp, gate = heads.kept
        block = self.block
        return finite(stream.tokens + gate * block.linear2(torch.cat((z, block.mlp_act(mlp)), 2)))

    def image_in(self, call: Mapping[str, Any]) -> Tensor | None:
        image: Tensor = call["x"][:, int(call["text_tokens"]) :]
        return image


def blocks(model: Any, double: type[BflDouble] = BflDouble, single: type[BflSingle] = BflSingle) -> list[BflBlock]:
    """All blocks in the order they run, each as one of the two classes."""
    found: list[BflBlock] = [double(i, block) for i, block in enumerate(model.double_blocks)]
    found += [single(i, block) for i, block in enumerate(model.single_blocks)]
    for each in found:
        each.heads = each.heads or int(model.num_heads)
    if found:
        found[-1].last = True
    return found


def _flat(modulation: Sequence[Any]) -> list[Tensor]:
    """shift, scale, gate, ... in one row, as Forge has them. Neo: in threes, with None for a second one not there."""
    groups = [
        (part,) if isinstance(part, Tensor) else (part.shift, part.scale, part.gate)
        for part in modulation
        if part is not None
    ]
    return [part for group in groups for part in group]


def turn(x: Tensor, pe: Tensor) -> Tensor:
    """Rotary embedding with 2 x 2 matrices. ``x``: (rows, heads, tokens, size), ``pe``: (1 or rows, 1, tokens,
    size / 2, 2, 2)."""
    pairs = x.float().unflatten(-1, (-1, 1, 2))
    return (pe[..., 0] * pairs[..., 0] + pe[..., 1] * pairs[..., 1]).flatten(-2).to(x.dtype)


def _of_rows(pe: Tensor, rows: Any) -> Tensor:
    return pe if pe.shape[0] == 1 else pe[rows]


def stream(
    model: Any, call: Mapping[str, Any], rows: tuple[int, ...], text: Tensor, pooled: Tensor | None
) -> TextStream:
    """The negatives at the entrance of the model; see diffusers_flux.stream."""
    prompt, own = call["context"], rows_of(call["y"], rows) if pooled is None else pooled.to(call["y"])
    vec = model.time_in(sinusoids(rows_of(call["timestep"], rows)).to(prompt.dtype)) + model.vector_in(own)
    if getattr(model, "guidance_embed", False):
        vec = vec + model.guidance_in(sinusoids(rows_of(call["guidance"], rows)).to(prompt.dtype))
    return TextStream(rows, model.txt_in(text.to(prompt)), vec, prompt.shape[1])


def sinusoids(t: Tensor, size: int = 256) -> Tensor:
    """Flux's embedding of times 0..1: (rows,) -> (rows, size), cosines first."""
    half = size // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = 1000.0 * t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
