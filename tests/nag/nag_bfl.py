"""Flux in its authors' layout, as small as can be: module names and shapes as WebUIs have them, written for the
tests, and the weights of a diffusers Flux poured into it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from extras.nag.joint.bfl_flux import turn


class QKNorm(nn.Module):
    def __init__(self, query, key):
        super().__init__()
        self.query_norm, self.key_norm = query, key

    def forward(self, q, k, v):
        return self.query_norm(q), self.key_norm(k)


class Attention(nn.Module):
    def __init__(self, qkv, norm, proj):
        super().__init__()
        self.qkv, self.norm, self.proj = qkv, norm, proj


class Modulation(nn.Module):
    def __init__(self, lin, parts):
        super().__init__()
        self.lin, self.parts = lin, parts

    def forward(self, vec):
        return self.lin(silu(vec))[:, None].chunk(self.parts, dim=-1)


def stacked(*linears):
    made = nn.Linear(linears[0].in_features, sum(m.out_features for m in linears)).to(linears[0].weight)
    with torch.no_grad():
        made.weight.copy_(torch.cat([m.weight for m in linears]))
        made.bias.copy_(torch.cat([m.bias for m in linears]))
    return made


def attend(q, k, v, pe):
    z = scaled_dot_product_attention(turn(q, pe), turn(k, pe), v)
    return z.transpose(1, 2).flatten(2)


def heads(qkv, count):
    n, tokens, _ = qkv.shape
    return qkv.view(n, tokens, 3, count, -1).permute(2, 0, 3, 1, 4)


def feed_forward(ff):
    return nn.Sequential(ff.net[0].proj, nn.GELU(approximate="tanh"), ff.net[2])


class Double(nn.Module):
    def __init__(self, block):
        super().__init__()
        a = block.attn
        self.num_heads, self.hidden_size = a.heads, a.inner_dim
        self.img_mod, self.txt_mod = Modulation(block.norm1.linear, 6), Modulation(block.norm1_context.linear, 6)
        self.img_norm1, self.txt_norm1 = block.norm1.norm, block.norm1_context.norm
        self.img_attn = Attention(stacked(a.to_q, a.to_k, a.to_v), QKNorm(a.norm_q, a.norm_k), a.to_out[0])
        added = stacked(a.add_q_proj, a.add_k_proj, a.add_v_proj)
        self.txt_attn = Attention(added, QKNorm(a.norm_added_q, a.norm_added_k), a.to_add_out)
        self.img_norm2, self.txt_norm2 = block.norm2, block.norm2_context
        self.img_mlp, self.txt_mlp = feed_forward(block.ff), feed_forward(block.ff_context)

    def forward(self, img, txt, vec, pe):
        i = self.img_mod(vec)
        iq, ik, iv = heads(self.img_attn.qkv((1 + i[1]) * self.img_norm1(img) + i[0]), self.num_heads)
        iq, ik = self.img_attn.norm(iq, ik, iv)
        t = self.txt_mod(vec)
        tq, tk, tv = heads(self.txt_attn.qkv((1 + t[1]) * self.txt_norm1(txt) + t[0]), self.num_heads)
        tq, tk = self.txt_attn.norm(tq, tk, tv)
        z = attend(torch.cat((tq, iq), 2), torch.cat((tk, ik), 2), torch.cat((tv, iv), 2), pe)
        zt, zi = z[:, : txt.shape[1]], z[:, txt.shape[1] :]
        img = img + i[2] * self.img_attn.proj(zi)
        img = img + i[5] * self.img_mlp((1 + i[4]) * self.img_norm2(img) + i[3])
        txt = txt + t[2] * self.txt_attn.proj(zt)
        return img, txt + t[5] * self.txt_mlp((1 + t[4]) * self.txt_norm2(txt) + t[3])


class Single(nn.Module):
    def __init__(self, block):
        super().__init__()
        a = block.attn
        self.num_heads, self.hidden_size, self.mlp_hidden_dim = a.heads, a.inner_dim, block.mlp_hidden_dim
        self.modulation, self.pre_norm = Modulation(block.norm.linear, 3), block.norm.norm
        self.linear1, self.linear2 = stacked(a.to_q, a.to_k, a.to_v, block.proj_mlp), block.proj_out
        self.norm, self.mlp_act = QKNorm(a.norm_q, a.norm_k), nn.GELU(approximate="tanh")

    def forward(self, x, vec, pe):
        shift, scale, gate = self.modulation(vec)
        parts = [3 * self.hidden_size, self.mlp_hidden_dim]
        qkv, mlp = self.linear1((1 + scale) * self.pre_norm(x) + shift).split(parts, -1)
        q, k, v = heads(qkv, self.num_heads)
        q, k = self.norm(q, k, v)
        return x + gate * self.linear2(torch.cat((attend(q, k, v, pe), self.mlp_act(mlp)), 2))


class BflFlux(nn.Module):
    """The blocks of ``model`` (a diffusers FluxTransformer2DModel) in the other layout. ``forward(img, txt, vec,
    pe)`` from embedded tokens to the tokens before the last layer."""

    def __init__(self, model):
        super().__init__()
        self.double_blocks = nn.ModuleList(Double(block) for block in model.transformer_blocks)
        self.single_blocks = nn.ModuleList(Single(block) for block in model.single_transformer_blocks)

    def forward(self, img, txt, vec, pe):
        for block in self.double_blocks:
            img, txt = block(img=img, txt=txt, vec=vec, pe=pe)
        x = torch.cat((txt, img), 1)
        for block in self.single_blocks:
            x = block(x, vec=vec, pe=pe)
        return x[:, txt.shape[1] :]


def matrices(rotary):
    """diffusers' (cos, sin), each (tokens, size) with every value twice -> (1, 1, tokens, size / 2, 2, 2)."""
    cos, sin = (part[:, ::2] for part in rotary)
    return torch.stack((cos, -sin, sin, cos), -1).unflatten(-1, (2, 2))[None, None]
