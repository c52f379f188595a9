"""SD3 and SD3.5 in their authors' layout (joint_blocks), as WebUIs have it: image and text blocks side by side.

As in diffusers, the negative keeps the prompt's pooled embedding, the last block drops its text, and the second
attention of SD3.5-medium's image, which sees no text, is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..kept import rows_of
from .blocks import Reader, TextHeads, TextStream, output_as, split

PARTS = ("joint_blocks", "x_embedder", "context_embedder", "t_embedder", "final_layer")
ARGUMENTS = ("x", "t", "y", "context")
OWN_POOLED = False


class MMDiTBlock:
    """joint_blocks.N."""

    at_input = True
    image_name, text_first = "x", True
    arguments = ("context", "x", "c")

    def __init__(self, number: int, block: Any):
        self.name, self.notation = f"joint_blocks.{number}", f"t{number}"
        self.alias, self.block = f"transformer_blocks.{number}.attn", block
        self.last = bool(block.context_block.pre_only)
        self.attn: Any = block.x_block.attn
        self.module: nn.Module = self.attn
        self.heads = int(self.attn.num_heads)
        size = getattr(self.attn, "head_dim", None)  # a quantised proj knows no in_features
        self.width = int(self.attn.proj.in_features) if size is None else self.heads * int(size)

    @property
    def captures(self) -> Sequence[tuple[nn.Module, Reader]]:
        attn = self.attn
        third = [(attn.qkv, lambda args, output: {"v": output[..., 2 * self.width :]})]
        return [*third, (attn.ln_q, output_as("q")), (attn.ln_k, output_as("k"))]

    @property
    def target(self) -> nn.Module:
        proj: nn.Module = self.attn.proj
        return proj

    def image(self, tokens: Tensor, call: Mapping[str, Any]) -> tuple[int, int]:
        return 0, tokens.shape[1]

    def image_heads(
        self, captured: Mapping[str, Tensor], rows: Tensor | slice, call: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (split(captured[name][rows].flatten(2), self.heads) for name in "qkv")
        return q, k, v

    def open(self, stream: TextStream, call: Mapping[str, Any]) -> TextHeads:
        block = self.block.context_block
        parts = block.adaLN_modulation(stream.temb).unsqueeze(1).chunk(2 if self.last else 6, dim=2)
        x = block.norm1(stream.text) * (1 + parts[1]) + parts[0]
        attn = block.attn
        q, k, v = attn.qkv(x).unflatten(2, (3, self.heads, -1)).unbind(2)
        q, k = attn.ln_q(q), attn.ln_k(k)
        return TextHeads(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), parts[2:])

    def close(self, stream: TextStream, z: Tensor, heads: TextHeads) -> Tensor:
        gate, shift_mlp, scale_mlp, gate_mlp = heads.kept
        block = self.block.context_block
        text: Tensor = stream.text + gate * block.attn.proj(z)
        return text + gate_mlp * block.mlp(block.norm2(text) * (1 + scale_mlp) + shift_mlp)

    def image_in(self, call: Mapping[str, Any]) -> Tensor | None:
        return None


def blocks(model: Any) -> list[MMDiTBlock]:
    """All blocks in the order they run."""
    return [MMDiTBlock(i, block) for i, block in enumerate(model.joint_blocks)]


def stream(
    model: Any, call: Mapping[str, Any], rows: tuple[int, ...], text: Tensor, pooled: Tensor | None
) -> TextStream:
    """The negatives at the entrance of the model; see diffusers_flux.stream."""
    prompt = call["context"]
    time = call["t"] if call.get("t") is not None else call["timesteps"]
    temb = model.t_embedder(rows_of(time, rows), dtype=call["x"].dtype)
    if call.get("y") is not None:
        temb = temb + model.y_embedder((rows_of(call["y"], rows) if pooled is None else pooled).to(call["y"]))
    own = model.context_embedder(text.to(prompt))
    return TextStream(rows, own, temb, prompt.shape[1])
