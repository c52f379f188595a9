"""SD3 in its authors' layout, as small as can be: module names and shapes as WebUIs have them, written for the tests,
and the weights of a diffusers SD3 poured into it. And Chroma's blocks: Flux's, with the modulations handed in."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from nag_bfl import BflFlux, Double, Single, feed_forward, stacked
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Attention(nn.Module):
    def __init__(self, qkv, ln_q, ln_k, proj, heads):
        super().__init__()
        self.qkv, self.num_heads = qkv, heads
        self.ln_q, self.ln_k = ln_q or nn.Identity(), ln_k or nn.Identity()
        if proj is not None:
            self.proj = proj

    def pre_attention(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).unbind(2)
        return self.ln_q(q).flatten(2), self.ln_k(k).flatten(2), v.flatten(2)


class Side(nn.Module):
    """x_block or context_block; parts in the authors' order, which the last context block has the other way round."""

    def __init__(self, norm, attn, norm2, ff):
        super().__init__()
        self.norm1, self.attn = norm.norm, attn
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), norm.linear)
        self.pre_only = ff is None
        if not self.pre_only:
            self.norm2, self.mlp = norm2, feed_forward(ff)

    def pre_attention(self, x, c):
        parts = self.adaLN_modulation(c).unsqueeze(1).chunk(2 if self.pre_only else 6, dim=2)
        return self.attn.pre_attention(self.norm1(x) * (1 + parts[1]) + parts[0]), (x, *parts[2:])

    def post_attention(self, z, x, gate, shift, scale, gate_mlp):
        x = x + gate * self.attn.proj(z)
        return x + gate_mlp * self.mlp(self.norm2(x) * (1 + scale) + shift)


class JointBlock(nn.Module):
    def __init__(self, block):
        super().__init__()
        a = block.attn
        image = Attention(stacked(a.to_q, a.to_k, a.to_v), a.norm_q, a.norm_k, a.to_out[0], a.heads)
        added = stacked(a.add_q_proj, a.add_k_proj, a.add_v_proj)
        text = Attention(added, a.norm_added_q, a.norm_added_k, getattr(a, "to_add_out", None), a.heads)
        self.x_block = Side(block.norm1, image, block.norm2, block.ff)
        only = block.context_pre_only
        self.context_block = Side(block.norm1_context, text, block.norm2_context, None if only else block.ff_context)
        if only:  # diffusers has scale before shift here
            linear = block.norm1_context.linear
            swapped = nn.Linear(linear.in_features, linear.out_features).requires_grad_(False)
            swapped.weight.copy_(torch.cat(linear.weight.chunk(2)[::-1]))
            swapped.bias.copy_(torch.cat(linear.bias.chunk(2)[::-1]))
            self.context_block.adaLN_modulation = nn.Sequential(nn.SiLU(), swapped)

    def forward(self, context, x, c):
        text, kept = self.context_block.pre_attention(context, c)
        image, own = self.x_block.pre_attention(x, c)
        q, k, v = (
            torch.cat(pair, 1).unflatten(2, (self.x_block.attn.num_heads, -1)).transpose(1, 2)
            for pair in zip(text, image, strict=True)
        )
        z = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        zt, zi = z[:, : context.shape[1]], z[:, context.shape[1] :]
        context = None if self.context_block.pre_only else self.context_block.post_attention(zt, *kept)
        return context, self.x_block.post_attention(zi, *own)


class Time(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.project, self.embed = model.time_text_embed.time_proj, model.time_text_embed.timestep_embedder

    def forward(self, t, dtype):
        return self.embed(self.project(t).to(dtype))


class MMDiT(nn.Module):
    """The weights of ``model`` (a diffusers SD3Transformer2DModel). ``forward(x, t, y, context)``."""

    def __init__(self, model):
        super().__init__()
        self.x_embedder, self.context_embedder = model.pos_embed, model.context_embedder
        self.t_embedder, self.y_embedder = Time(model), model.time_text_embed.text_embedder
        self.joint_blocks = nn.ModuleList(JointBlock(block) for block in model.transformer_blocks)
        self.final_layer = nn.ModuleList([model.norm_out, model.proj_out])
        self.patch, self.channels = model.config.patch_size, model.out_channels

    def forward(self, x, t, y=None, context=None):
        height, width = (size // self.patch for size in x.shape[-2:])
        c = self.t_embedder(t, dtype=x.dtype) + self.y_embedder(y)
        x, context = self.x_embedder(x), self.context_embedder(context)
        for block in self.joint_blocks:
            context, x = block(context, x, c=c)
        norm, out = self.final_layer
        x = out(norm(x, c)).unflatten(1, (height, width)).unflatten(3, (self.patch, self.patch, self.channels))
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


class ChromaBlocks(nn.Module):
    """Flux's blocks as Chroma calls them, with the modulations that Flux's own would make of ``vec``."""

    def __init__(self, flux: BflFlux):
        super().__init__()
        self.double_blocks = nn.ModuleList(ChromaDouble(block) for block in flux.double_blocks)
        self.single_blocks = nn.ModuleList(ChromaSingle(block) for block in flux.single_blocks)
        self.flux = [flux]  # not a module of ours

    def forward(self, img, txt, vec, pe):
        for block, own in zip(self.double_blocks, self.flux[0].double_blocks, strict=True):
            img, txt = block(img=img, txt=txt, mod=[two(own.img_mod(vec)), two(own.txt_mod(vec))], pe=pe)
        x = torch.cat((txt, img), 1)
        for block, own in zip(self.single_blocks, self.flux[0].single_blocks, strict=True):
            x = block(x, mod=two(own.modulation(vec))[0], pe=pe)
        return x[:, txt.shape[1] :]


def two(parts):
    """Modulations as the blocks get them: objects with shift, scale, gate."""
    return [
        SimpleNamespace(shift=shift, scale=scale, gate=gate)
        for shift, scale, gate in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def handed(parts):
    return lambda vec: parts


class ChromaDouble(nn.Module):
    """Double's parts without its modulations."""

    def __init__(self, block):
        super().__init__()
        self.num_heads, self.hidden_size = block.num_heads, block.hidden_size
        for name, module in block.named_children():
            if not name.endswith("_mod"):
                setattr(self, name, module)

    def forward(self, img, txt, mod, pe):
        flat = [[part for one in side for part in (one.shift, one.scale, one.gate)] for side in mod]
        return Double.forward(_with(self, img_mod=handed(flat[0]), txt_mod=handed(flat[1])), img, txt, None, pe)


class ChromaSingle(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.num_heads, self.hidden_size, self.mlp_hidden_dim = block.num_heads, block.hidden_size, block.mlp_hidden_dim
        for name, module in block.named_children():
            if name != "modulation":
                setattr(self, name, module)

    def forward(self, x, mod, pe):
        return Single.forward(_with(self, modulation=handed((mod.shift, mod.scale, mod.gate))), x, None, pe)


def _with(module, **more):
    """What a method reads of ``module``, and ``more``."""
    own = dict(module.named_children(), num_heads=module.num_heads, hidden_size=module.hidden_size)
    return SimpleNamespace(**own, mlp_hidden_dim=getattr(module, "mlp_hidden_dim", 0), **more)
