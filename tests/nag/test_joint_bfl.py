"""Flux in its authors' layout is guided as the same weights are in diffusers' layout."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from diffusers import FluxTransformer2DModel
from nag_bfl import BflFlux, matrices

from extras.nag.joint import bfl_flux, diffusers_flux
from extras.nag.joint.blocks import TextStream
from extras.nag.joint.find import Transformer
from extras.nag.joint.run import JointRun
from extras.nag.joint.text import TextSource
from extras.nag.layers import Layer
from extras.nag.schedule import Schedule

ROWS = (0, 2)


@pytest.fixture(scope="module")
def both():
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=24, axes_dims_rope=(4, 6, 6),
    ).eval()  # fmt: skip
    return model, BflFlux(model)


def inputs(model):
    torch.manual_seed(1)
    ids = torch.cat([torch.zeros(7, 3), torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))])
    img, txt, neg = torch.randn(3, 16, 32), torch.randn(3, 7, 32), torch.randn(2, 9, 32)
    return img, txt, neg, torch.randn(3, 32), torch.randn(2, 32), model.pos_embed(ids)


def in_diffusers(model, img, txt, vec, rotary):
    for block in model.transformer_blocks:
        txt, img = block(hidden_states=img, encoder_hidden_states=txt, temb=vec, image_rotary_emb=rotary)
    for block in model.single_transformer_blocks:
        txt, img = block(hidden_states=img, encoder_hidden_states=txt, temb=vec, image_rotary_emb=rotary)
    return img


def guided(family, model, negative, temb, forward, own_image):
    """``forward`` under NAG whose text stream begins with ``negative`` and ``temb``, both embedded already."""

    class Embedded(TextSource):
        def begin(self, state):
            self._streams = [TextStream(ROWS, negative, temb, 7)]
            state.text_tokens = 7

    source = Embedded(Transformer(model, family), own_image)
    layers = [
        Layer(b.name, b.module, "joint", b.notation, b.heads, b.width, i, b.alias)
        for i, b in enumerate(family.blocks(model))
    ]
    with JointRun("NAG", Schedule(), source.transformer, layers, source, (4.0, 2.5, 0.5), 4.0, True) as run:
        run.begin([999, 499])
        run.step_at(999)
        run.call([(row, row) for row in ROWS])
        with torch.no_grad():
            picture = forward()
    return picture, [layer["change"] for layer in run.report.per_layer.values()]


@pytest.mark.parametrize("own_image", [False, True], ids=["shared image", "own image"])
def test_both_layouts_agree_guided_and_unguided(both, own_image):
    model, bfl = both
    img, txt, neg, vec, temb, rotary = inputs(model)
    with torch.no_grad():
        plain = in_diffusers(model, img, txt, vec, rotary)
        torch.testing.assert_close(bfl(img, txt, vec, matrices(rotary)), plain, rtol=1e-4, atol=1e-5)
    one, changes = guided(
        diffusers_flux, model, neg, temb, lambda: in_diffusers(model, img, txt, vec, rotary), own_image
    )
    other, own = guided(bfl_flux, bfl, neg, temb, lambda: bfl(img, txt, vec, matrices(rotary)), own_image)
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
    assert own == pytest.approx(changes, rel=1e-3) and len(own) == 4 and min(own) > 0
    assert torch.equal(one[1], plain[1]) and (one[0] - plain[0]).abs().max() > 1e-2, "rows 0 and 2 only"
    with torch.no_grad():
        assert torch.equal(in_diffusers(model, img, txt, vec, rotary), plain), "the model is as it was"
