"""SD3 and SD3.5 in diffusers (SD3Transformer2DModel): image tokens first, no rotary embedding.

The negative keeps the prompt's pooled embedding. The last block drops its text. SD3.5-medium's second, image
only attention sees no text: it is the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..kept import rows_of
from .blocks import Reader, TextHeads, TextStream, output_as, split

PARTS = ("transformer_blocks", "pos_embed", "context_embedder", "time_text_embed", "norm_out")
ARGUMENTS = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep")
OWN_POOLED = False


class SD3Block:
    """transformer_blocks.N."""

    at_input = True
    image_name, text_first = "hidden_states", False
    arguments = ("hidden_states", "encoder_hidden_states", "temb")

    def __init__(self, number: int, block: Any):
        self.name, self.notation = f"transformer_blocks.{number}.attn", f"t{number}"
        self.alias, self.block = f"joint_blocks.{number}", block
        self.last = bool(block.context_pre_only)
        self.attn: Any = block.attn
        self.module: nn.Module = self.attn
        self.heads = int(self.attn.heads)
        self.width = int(self.attn.inner_dim)

    @property
    def captures(self) -> Sequence[tuple[nn.Module, Reader]]:
        attn = self.attn
        modules = {"q": attn.norm_q or attn.to_q, "k": attn.norm_k or attn.to_k, "v": attn.to_v}
        return [(module, output_as(name)) for name, module in modules.items()]

    @property
    def target(self) -> nn.Module:
        return self.attn.to_out[0]

    def image(self, tokens: Tensor, call: Mapping[str, Any]) -> tuple[int, int]:
        return 0, tokens.shape[1]

    def image_heads(
        self, captured: Mapping[str, Tensor], rows: Tensor | slice, call: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        # the norms see (rows, heads, tokens, size), bare projections (rows, tokens, width)
        q, k, v = (x[rows] if x.dim() == 4 else split(x[rows], self.heads) for x in (captured[name] for name in "qkv"))
        return q, k, v

    def open(self, stream: TextStream, call: Mapping[str, Any]) -> TextHeads:
        attn = self.attn
        if self.last:
            x, kept = self.block.norm1_context(stream.text, stream.temb), ()
        else:
            x, *kept = self.block.norm1_context(stream.text, emb=stream.temb)
        q, k, v = (split(project(x), self.heads) for project in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj))
        q = attn.norm_added_q(q) if attn.norm_added_q is not None else q
        k = attn.norm_added_k(k) if attn.norm_added_k is not None else k
        return TextHeads(q, k, v, tuple(kept))

    def close(self, stream: TextStream, z: Tensor, heads: TextHeads) -> Tensor:
        gate, shift_mlp, scale_mlp, gate_mlp = heads.kept
        text = stream.text + gate.unsqueeze(1) * self.attn.to_add_out(z)
        x = self.block.norm2_context(text) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
        return text + gate_mlp.unsqueeze(1) * self.block.ff_context(x)

    def image_in(self, call: Mapping[str, Any]) -> Tensor | None:
        return None


def blocks(model: Any) -> list[SD3Block]:
    """All blocks of an SD3Transformer2DModel."""
    return [SD3Block(i, block) for i, block in enumerate(model.transformer_blocks)]


def stream(
    model: Any, call: Mapping[str, Any], rows: tuple[int, ...], text: Tensor, pooled: Tensor | None
) -> TextStream:
    """The negatives at the entrance of the model; see diffusers_flux.stream."""
    own = rows_of(call["pooled_projections"], rows) if pooled is None else pooled.to(call["pooled_projections"])
    timestep = call["timestep"]
    timestep = rows_of(timestep, rows) if timestep.dim() else timestep.expand(len(rows))
    temb = model.time_text_embed(timestep, own)
    prompt = call["encoder_hidden_states"]
    return TextStream(rows, model.context_embedder(text.to(prompt)), temb, prompt.shape[1])
