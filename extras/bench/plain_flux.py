"""NAG on Flux as published (arXiv 2505.21179), written with the model's own layers: both texts run through all blocks,
and in the single blocks the image runs twice, beside either text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .plain_unet import rule

Rotary = tuple[Tensor, Tensor]


@dataclass
class Side:
    """One text's side: ``text`` (rows, tokens, width), what modulates it, and in single blocks its image."""

    text: Tensor
    temb: Tensor
    rotary: Rotary
    image: Tensor


@torch.no_grad()
def flux_nag(
    model: Any, inputs: dict[str, Any], negative: Tensor, pooled: Tensor, numbers: tuple[float, float, float]
) -> Tensor:
    """The guided prediction. ``negative``: (tokens, channels), ``pooled``: (channels,)."""
    rows = inputs["hidden_states"].shape[0]
    image = model.x_embedder(inputs["hidden_states"])
    texts = (inputs["encoder_hidden_states"], negative.expand(rows, -1, -1))
    sides = [
        _side(model, inputs, image, text, vector)
        for text, vector in zip(texts, (inputs["pooled_projections"], pooled.expand(rows, -1)), strict=True)
    ]
    for block in model.transformer_blocks:
        _double(block, sides, numbers)
    for block in model.single_transformer_blocks:
        _single(block, sides, numbers)
    out: Tensor = model.proj_out(model.norm_out(sides[0].image, sides[0].temb))
    return out


def _double(block: Any, sides: list[Side], numbers: tuple[float, float, float]) -> None:
    """One image stream, modulated by the positive; two text streams."""
    image = sides[0].image
    normed, gate, shift_mlp, scale_mlp, gate_mlp = block.norm1(image, emb=sides[0].temb)
    z = []
    for side in sides:
        z_image, side.text = _text_side(block, normed, side)
        z.append(z_image)
    image = image + gate[:, None] * block.attn.to_out[0](rule(*z, *numbers))
    inner = block.norm2(image) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
    image = image + gate_mlp[:, None] * block.ff(inner)
    for side in sides:
        side.image = image


def _text_side(block: Any, normed_image: Tensor, side: Side) -> tuple[Tensor, Tensor]:
    """What the image's tokens get beside this text, and the text after the block."""
    attn = block.attn
    normed, gate, shift_mlp, scale_mlp, gate_mlp = block.norm1_context(side.text, emb=side.temb)
    text = (
        attn.norm_added_q(_heads(attn, attn.add_q_proj(normed))),
        attn.norm_added_k(_heads(attn, attn.add_k_proj(normed))),
        _heads(attn, attn.add_v_proj(normed)),
    )
    joined = [torch.cat(pair, 1) for pair in zip(text, _qkv(attn, normed_image), strict=True)]
    z = _attend(*joined, side.rotary)
    z_text, z_image = z[:, : normed.shape[1]], z[:, normed.shape[1] :]
    out = side.text + gate[:, None] * attn.to_add_out(z_text)
    inner = block.norm2_context(out) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
    return z_image, out + gate_mlp[:, None] * block.ff_context(inner)


def _single(block: Any, sides: list[Side], numbers: tuple[float, float, float]) -> None:
    """The image beside either text; both copies get the same guided features."""
    z, parts = [], []
    for side in sides:
        length = side.text.shape[1]
        joined = torch.cat([side.text, side.image], 1)
        normed, gate = block.norm(joined, emb=side.temb)
        attended = _attend(*_qkv(block.attn, normed), side.rotary)
        z.append(attended[:, length:])
        parts.append((joined, gate, attended[:, :length], block.act_mlp(block.proj_mlp(normed))))
    guided = rule(*z, *numbers)
    for side, (joined, gate, z_text, mlp) in zip(sides, parts, strict=True):
        out = block.proj_out(torch.cat([torch.cat([z_text, guided], 1), mlp], 2))
        joined = joined + gate[:, None] * out
        side.text, side.image = joined[:, : z_text.shape[1]], joined[:, z_text.shape[1] :]


def _side(model: Any, inputs: dict[str, Any], image: Tensor, text: Tensor, pooled: Tensor) -> Side:
    time, guidance = inputs["timestep"] * 1000, inputs.get("guidance")
    temb = model.time_text_embed(*([time] if guidance is None else [time, guidance * 1000]), pooled)
    ids = torch.cat([torch.zeros(text.shape[1], 3).to(inputs["img_ids"]), inputs["img_ids"]])
    return Side(model.context_embedder(text), temb, model.pos_embed(ids), image)


def _heads(attn: Any, x: Tensor) -> Tensor:
    return x.unflatten(-1, (attn.heads, -1))


def _qkv(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    query, key = attn.norm_q(_heads(attn, attn.to_q(x))), attn.norm_k(_heads(attn, attn.to_k(x)))
    return query, key, _heads(attn, attn.to_v(x))


def _attend(query: Tensor, key: Tensor, value: Tensor, rotary: Rotary) -> Tensor:
    """(rows, tokens, heads, size) each -> (rows, tokens, width)."""
    from diffusers.models.embeddings import apply_rotary_emb

    turn: Any = apply_rotary_emb
    query, key = (turn(x, rotary, sequence_dim=1).transpose(1, 2) for x in (query, key))
    z = scaled_dot_product_attention(query, key, value.transpose(1, 2))
    return z.transpose(1, 2).flatten(2)
