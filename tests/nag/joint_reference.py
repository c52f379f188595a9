"""NAG and NAG-PAG on diffusers' Flux, and NAG on its Chroma and SD3, written plainly to compare with.

Every block is spelled out with the model's own layers; nothing is hooked and no processor is replaced. As published
(arXiv 2505.21179 and its Flux code), with the L1 norm:

* Two texts run beside each other. The positive one is modulated by its own pooled embedding, the negative one by its
  own, and each text stream sees its own branch's attention: they evolve separately through all blocks.
* Double blocks: one image stream, modulated by the positive pooled embedding. Its queries, keys and values serve both
  branches; z_pos and z_neg are what the image tokens get beside the positive and beside the negative text. The image
  goes on with the guided features.
* Single blocks: the image is doubled, each copy concatenated to its text and modulated by its branch's embedding. The
  image tokens of *both* copies take the same guided attention output; the MLPs beside it stay each branch's own.
* The output is the positive copy's, under the positive pooled embedding.

Every row of the batch is guided; texts of positive and negative may differ in length.

Chroma differs in two things. The modulations of all blocks come out of one network, of the time alone, and are the same
for both texts. Over each branch's text lies its mask m (1, or 0 for padding): m of the asking times m of the asked
token is added before the softmax, and is 1 for the image's.

SD3 has no single blocks. Both texts are modulated by the prompt's pooled embedding, and end before the last block's
feed-forward. A second attention of the image alone (SD3.5-medium) is not guided.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Branch:
    """One text's side of the model. `image` is its own copy of the image tokens (in the single blocks)."""

    text: Tensor
    temb: Tensor
    rotary: tuple[Tensor, Tensor]
    image: Tensor | None = None
    bias: Tensor | None = None


def l1_rule(z_pos, z_neg, scale, tau, alpha):
    """g = z- + s (z+ - z-), its L1 norm held below tau times that of z+, blended with alpha."""
    guided = scale * z_pos - (scale - 1) * z_neg
    ratio = guided.abs().sum(-1, keepdim=True) / z_pos.abs().sum(-1, keepdim=True)
    return alpha * guided * (ratio.clamp(max=tau) / ratio) + (1 - alpha) * z_pos


@torch.no_grad()
def flux_nag(model, inputs, negative, negative_pooled, scale, tau, alpha):
    """The velocity that NAG gives. ``inputs``: the keyword arguments of the model's forward (rows x tokens x channels);
    ``negative``: (rows or 1, tokens, channels), ``negative_pooled``: (rows or 1, channels)."""
    rows = len(inputs["hidden_states"])
    image = model.x_embedder(inputs["hidden_states"])
    sides = [
        _branch(model, inputs, inputs["encoder_hidden_states"], inputs["pooled_projections"]),
        _branch(model, inputs, negative.expand(rows, -1, -1), negative_pooled.expand(rows, -1)),
    ]
    pooled = sides[0].temb
    return _guided(model, image, sides, (scale, tau, alpha), lambda kind, index: pooled, lambda kind, index: None)


@torch.no_grad()
def chroma_nag(model, inputs, negative, negative_mask, scale, tau, alpha):
    """The velocity that NAG gives on Chroma. ``inputs`` with "attention_mask": (rows, text and image tokens);
    ``negative_mask``: (rows or 1, tokens)."""
    rows, tokens = inputs["hidden_states"].shape[:2]
    image = model.x_embedder(inputs["hidden_states"])
    time = inputs["timestep"].to(image.dtype) * 1000
    every = model.distilled_guidance_layer(model.time_text_embed(time))
    singles, doubles = len(model.single_transformer_blocks), len(model.transformer_blocks)
    texts = (inputs["encoder_hidden_states"], negative.expand(rows, -1, -1))
    masks = (inputs["attention_mask"], torch.cat([negative_mask.expand(rows, -1), image.new_ones(rows, tokens)], 1))
    sides = []
    for text, mask in zip(texts, masks, strict=True):
        ids = torch.cat([torch.zeros(text.shape[1], 3).to(inputs["img_ids"]), inputs["img_ids"]])
        bias = mask[:, None, :, None] * mask[:, None, None, :]
        sides.append(Branch(model.context_embedder(text), None, model.pos_embed(ids), bias=bias))

    def of_image(kind, index):
        first = 3 * singles + 6 * index
        return every[:, -2:] if kind == "out" else every[:, first : first + 6]

    def of_text(kind, index):
        first = 3 * index if kind == "single" else 3 * singles + 6 * doubles + 6 * index
        return every[:, first : first + (3 if kind == "single" else 6)]

    return _guided(model, image, sides, (scale, tau, alpha), of_image, of_text)


def _guided(model, image, sides, rule, of_image, of_text):
    """``of_image``, ``of_text``: (kind of block, its number) -> modulation; None leaves a side's own."""
    pos, neg = sides
    for index, block in enumerate(model.transformer_blocks):
        normed, gate, shift_mlp, scale_mlp, gate_mlp = block.norm1(image, emb=of_image("double", index))
        _modulate(sides, of_text("double", index))
        z = []
        for side in sides:
            z_image, side.text = _double_attention(block, normed, side)
            z.append(z_image)
        guided = block.attn.to_out[0](l1_rule(*z, *rule))
        image = image + gate[:, None] * guided
        inner = block.norm2(image) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
        image = image + gate_mlp[:, None] * block.ff(inner)

    pos.image = neg.image = image
    for index, block in enumerate(model.single_transformer_blocks):
        _modulate(sides, of_text("single", index))
        z, parts = [], []
        for side in sides:
            length = side.text.shape[1]
            joined = torch.cat([side.text, side.image], 1)
            normed, gate = block.norm(joined, emb=side.temb)
            attended = _attend(*_qkv(block.attn, normed), side.rotary, side.bias)
            z.append(attended[:, length:])
            parts.append((joined, gate, attended[:, :length], block.act_mlp(block.proj_mlp(normed))))
        guided = l1_rule(*z, *rule)
        for side, (joined, gate, z_text, mlp) in zip(sides, parts, strict=True):
            out = block.proj_out(torch.cat([torch.cat([z_text, guided], 1), mlp], 2))
            joined = joined + gate[:, None] * out
            side.text, side.image = joined[:, : z_text.shape[1]], joined[:, z_text.shape[1] :]
    return model.proj_out(model.norm_out(pos.image, of_image("out", 0)))


def _modulate(sides, temb):
    for side in sides if temb is not None else ():
        side.temb = temb


@torch.no_grad()
def sd3_nag(model, inputs, negative, scale, tau, alpha):
    """The velocity that NAG gives on SD3. ``inputs``: the keyword arguments of the model's forward."""
    rows, _, height, width = inputs["hidden_states"].shape
    image = model.pos_embed(inputs["hidden_states"])
    temb = model.time_text_embed(inputs["timestep"], inputs["pooled_projections"])
    texts = [model.context_embedder(x) for x in (inputs["encoder_hidden_states"], negative.expand(rows, -1, -1))]
    for block in model.transformer_blocks:
        attn, last = block.attn, block.context_pre_only
        normed, gate, shift_mlp, scale_mlp, gate_mlp, *second = block.norm1(image, emb=temb)
        z = []
        for i, text in enumerate(texts):
            entering, *parts = [block.norm1_context(text, temb)] if last else block.norm1_context(text, emb=temb)
            added = (_of_sd3(attn, attn.add_q_proj(entering), attn.norm_added_q),
                     _of_sd3(attn, attn.add_k_proj(entering), attn.norm_added_k),
                     _of_sd3(attn, attn.add_v_proj(entering)))  # fmt: skip
            own = _qkv_of_sd3(attn, normed)
            z_image, z_text = _attend_plainly(*(torch.cat(pair, 1) for pair in zip(own, added, strict=True))).split(
                [image.shape[1], text.shape[1]], 1
            )
            z.append(z_image)
            if not last:
                text_gate, text_shift, text_scale, text_gate_mlp = parts
                text = text + text_gate[:, None] * attn.to_add_out(z_text)
                inner = block.norm2_context(text) * (1 + text_scale[:, None]) + text_shift[:, None]
                texts[i] = text + text_gate_mlp[:, None] * block.ff_context(inner)
        image = image + gate[:, None] * attn.to_out[0](l1_rule(*z, scale, tau, alpha))
        if second:
            normed, gate = second
            alone = _attend_plainly(*_qkv_of_sd3(block.attn2, normed))
            image = image + gate[:, None] * block.attn2.to_out[0](alone)
        inner = block.norm2(image) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
        image = image + gate_mlp[:, None] * block.ff(inner)
    out = model.proj_out(model.norm_out(image, temb))
    size = model.config.patch_size
    patches = out.reshape(rows, height // size, width // size, size, size, -1)
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(rows, -1, height, width)


def _of_sd3(attn, x, norm=None):
    x = x.unflatten(-1, (attn.heads, -1))
    return x if norm is None else norm(x)


def _qkv_of_sd3(attn, x):
    query, key = _of_sd3(attn, attn.to_q(x), attn.norm_q), _of_sd3(attn, attn.to_k(x), attn.norm_k)
    return query, key, _of_sd3(attn, attn.to_v(x))


def _attend_plainly(query, key, value):
    weights = torch.einsum("bqhc,bkhc->bhqk", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("bhqk,bkhc->bqhc", weights.softmax(-1), value).flatten(2)


@torch.no_grad()
def flux_nag_pag(model, inputs, scale, tau, alpha, blocks):
    """The velocity that NAG-PAG gives: in the double blocks numbered in ``blocks``, z_neg is identity attention over
    the image tokens, that is their value vectors. No negative text takes part."""
    image = model.x_embedder(inputs["hidden_states"])
    side = _branch(model, inputs, inputs["encoder_hidden_states"], inputs["pooled_projections"])
    for index, block in enumerate(model.transformer_blocks):
        normed, gate, shift_mlp, scale_mlp, gate_mlp = block.norm1(image, emb=side.temb)
        z, side.text = _double_attention(block, normed, side)
        if index in blocks:
            z = l1_rule(z, block.attn.to_v(normed), scale, tau, alpha)
        image = image + gate[:, None] * block.attn.to_out[0](z)
        inner = block.norm2(image) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
        image = image + gate_mlp[:, None] * block.ff(inner)
    for block in model.single_transformer_blocks:
        side.text, image = block(image, side.text, side.temb, side.rotary)
    return model.proj_out(model.norm_out(image, side.temb))


def _branch(model, inputs, text, pooled):
    dtype = inputs["hidden_states"].dtype
    time, guidance = inputs["timestep"].to(dtype) * 1000, inputs.get("guidance")
    if guidance is None:
        temb = model.time_text_embed(time, pooled)
    else:
        temb = model.time_text_embed(time, guidance.to(dtype) * 1000, pooled)
    ids = torch.cat([torch.zeros(text.shape[1], 3).to(inputs["img_ids"]), inputs["img_ids"]])
    return Branch(model.context_embedder(text), temb, model.pos_embed(ids))


def _double_attention(block, normed_image, side):
    """What the image tokens get beside this text (before to_out), and the text after the block."""
    normed, gate, shift_mlp, scale_mlp, gate_mlp = block.norm1_context(side.text, emb=side.temb)
    attn = block.attn
    text = (
        attn.norm_added_q(_heads(attn, attn.add_q_proj(normed))),
        attn.norm_added_k(_heads(attn, attn.add_k_proj(normed))),
        _heads(attn, attn.add_v_proj(normed)),
    )
    joined = [torch.cat(pair, 1) for pair in zip(text, _qkv(attn, normed_image), strict=True)]
    z_text, z_image = _attend(*joined, side.rotary, side.bias).split([normed.shape[1], normed_image.shape[1]], 1)
    out = side.text + gate[:, None] * attn.to_add_out(z_text)
    inner = block.norm2_context(out) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
    return z_image, out + gate_mlp[:, None] * block.ff_context(inner)


def _heads(attn, x):
    return x.unflatten(-1, (-1, attn.head_dim))  # rows, tokens, heads, channels


def _qkv(attn, x):
    query, key = attn.norm_q(_heads(attn, attn.to_q(x))), attn.norm_k(_heads(attn, attn.to_k(x)))
    return query, key, _heads(attn, attn.to_v(x))


def _turn(x, rotary):
    """Rotary embedding: channels in pairs, each pair a complex number turned by its angle."""
    cos, sin = (part[:, None, ::2].to(x.dtype) for part in rotary)
    real, imaginary = x[..., ::2], x[..., 1::2]
    return torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], -1).flatten(-2)


def _attend(query, key, value, rotary, bias=None):
    query, key = _turn(query, rotary), _turn(key, rotary)
    weights = torch.einsum("bqhc,bkhc->bhqk", query, key) / query.shape[-1] ** 0.5
    weights = weights if bias is None else weights + bias
    return torch.einsum("bhqk,bkhc->bqhc", weights.softmax(-1), value).flatten(2)
