"""Flux and Chroma as Forge Neo has them: the same arithmetic under other habits (read 2026-03 and later; its blocks
have modulations in threes, add in place, are given a mask and options, and single ones do not know their heads)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("diffusers")

from nag_bfl import Double, Single, attend, heads, matrices
from test_joint_bfl import both, guided, inputs  # noqa: F401
from torch import nn

from extras.nag.joint import bfl_chroma, bfl_flux


def threes(parts):
    shift, scale, gate = parts
    return SimpleNamespace(shift=shift, scale=scale, gate=gate)


class InThrees(nn.Module):
    def __init__(self, flat):
        super().__init__()
        self.flat = flat

    def forward(self, vec):
        parts = self.flat(vec)
        return threes(parts[:3]), threes(parts[3:]) if len(parts) == 6 else None


class NeoDouble(Double):
    """``modulated``: Flux; else what it is given as ``vec`` is ready, as in Chroma."""

    def __init__(self, block, modulated):
        super().__init__(block)
        self.modulated = modulated
        if modulated:
            self.img_mod, self.txt_mod = InThrees(self.img_mod), InThrees(self.txt_mod)
        else:
            del self.img_mod, self.txt_mod

    def forward(self, img, txt, vec, pe, attn_mask=None, transformer_options=None):
        (i1, i2), (t1, t2) = (self.img_mod(vec), self.txt_mod(vec)) if self.modulated else vec
        iq, ik, iv = heads(self.img_attn.qkv((1 + i1.scale) * self.img_norm1(img) + i1.shift), self.num_heads)
        iq, ik = self.img_attn.norm(iq, ik, iv)
        tq, tk, tv = heads(self.txt_attn.qkv((1 + t1.scale) * self.txt_norm1(txt) + t1.shift), self.num_heads)
        tq, tk = self.txt_attn.norm(tq, tk, tv)
        z = attend(torch.cat((tq, iq), 2), torch.cat((tk, ik), 2), torch.cat((tv, iv), 2), pe)
        img += i1.gate * self.img_attn.proj(z[:, txt.shape[1] :])
        img += i2.gate * self.img_mlp((1 + i2.scale) * self.img_norm2(img) + i2.shift)
        txt += t1.gate * self.txt_attn.proj(z[:, : txt.shape[1]])
        txt += t2.gate * self.txt_mlp((1 + t2.scale) * self.txt_norm2(txt) + t2.shift)
        return img, txt


class NeoSingle(Single):
    def __init__(self, block, modulated):
        super().__init__(block)
        self.count, self.mlp_hidden_dim_first = self.num_heads, self.mlp_hidden_dim
        del self.num_heads
        self.modulation = InThrees(self.modulation) if modulated else None

    def forward(self, x, vec, pe, attn_mask=None, transformer_options=None):
        mod = self.modulation(vec)[0] if self.modulation else vec
        parts = [3 * self.hidden_size, self.mlp_hidden_dim_first]
        qkv, mlp = self.linear1((1 + mod.scale) * self.pre_norm(x) + mod.shift).split(parts, -1)
        q, k, v = heads(qkv, self.count)
        q, k = self.norm(q, k, v)
        x += mod.gate * self.linear2(torch.cat((attend(q, k, v, pe), self.mlp_act(mlp)), 2))
        return x


class Neo(nn.Module):
    def __init__(self, model, modulated=True):
        super().__init__()
        self.double_blocks = nn.ModuleList(NeoDouble(block, modulated) for block in model.transformer_blocks)
        self.single_blocks = nn.ModuleList(NeoSingle(block, modulated) for block in model.single_transformer_blocks)
        self.num_heads = self.double_blocks[0].num_heads

    def forward(self, img, txt, vec, pe):
        img, txt = img.clone(), txt.clone()
        rest = {"attn_mask": None, "transformer_options": {}}
        of = vec if callable(vec) else lambda kind, number: vec
        for i, block in enumerate(self.double_blocks):
            img, txt = block(img=img, txt=txt, vec=of("double", i), pe=pe, **rest)
        x = torch.cat((txt, img), 1)
        for i, block in enumerate(self.single_blocks):
            x = block(x, vec=of("single", i), pe=pe, **rest)
        return x[:, txt.shape[1] :]


@pytest.mark.parametrize("own_image", [False, True], ids=["shared image", "own image"])
def test_flux_is_guided_as_in_forge(both, own_image):  # noqa: F811
    model, forge = both
    img, txt, neg, vec, temb, rotary = inputs(model)
    pe, neo = matrices(rotary), Neo(model)
    with torch.no_grad():
        plain = neo(img, txt, vec, pe)
        torch.testing.assert_close(plain, forge(img, txt, vec, pe))
    one, changes = guided(bfl_flux, forge, neg, temb, lambda: forge(img, txt, vec, pe), own_image)
    other, own = guided(bfl_flux, neo, neg, temb, lambda: neo(img, txt, vec, pe), own_image)
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    assert own == pytest.approx(changes, rel=1e-3) and len(own) == 4
    with torch.no_grad():
        assert torch.equal(neo(img, txt, vec, pe), plain), "the model is as it was"


def test_chroma_is_guided_as_flux_of_one_modulation(both):  # noqa: F811
    """Where the negative is modulated as the prompt is, Chroma is Flux."""
    model, _ = both
    img, txt, neg, vec, _, rotary = inputs(model)
    pe, flux, chroma = matrices(rotary), Neo(model), Neo(model, modulated=False)

    def ready(kind, number):
        block = getattr(flux, f"{kind}_blocks")[number]
        with torch.no_grad():
            return (block.img_mod(vec), block.txt_mod(vec)) if kind == "double" else block.modulation(vec)[0]

    with torch.no_grad():
        plain = chroma(img, txt, ready, pe)
        torch.testing.assert_close(plain, flux(img, txt, vec, pe))
    one, changes = guided(bfl_flux, flux, neg, vec[[0, 2]], lambda: flux(img, txt, vec, pe), False)
    other, own = guided(bfl_chroma, chroma, neg, None, lambda: chroma(img, txt, ready, pe), False)
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    assert own == pytest.approx(changes, rel=1e-3) and min(own) > 0 and (one - plain).abs().max() > 1e-2
