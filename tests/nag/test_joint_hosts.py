"""SD3 and Chroma as WebUIs have them are guided as the same weights are in the layouts known already."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("diffusers")

from diffusers import SD3Transformer2DModel
from nag_mmdit import ChromaBlocks, MMDiT
from test_joint_bfl import ROWS, both, guided, inputs, matrices  # noqa: F401  (a fixture)

from extras.nag import LayerError, Settings
from extras.nag.guidance import Guidance
from extras.nag.joint import bfl_chroma, bfl_flux, find
from extras.nag.joint.mmdit import MMDiTBlock
from extras.nag.layers import find_layers
from extras.nag.taps import count_taps

METHODS = {"NAG": {"scale": 5.0}, "NAG-PAG": {"nag": False, "nag_pag_scale": 3.0}}


@pytest.fixture(scope="module", params=[None, "rms_norm"], ids=["sd3", "sd3.5"])
def sd3(request):
    torch.manual_seed(0)
    model = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=24, caption_projection_dim=32, pooled_projection_dim=20,
        pos_embed_max_size=8, qk_norm=request.param,
    ).eval().requires_grad_(False)  # fmt: skip
    return model, MMDiT(model)


def latents():
    torch.manual_seed(1)
    x, t = torch.randn(3, 4, 8, 8), torch.full((3,), 700.0)
    return x, t, torch.randn(3, 20), torch.randn(3, 7, 24), torch.randn(2, 9, 24)


def run(model, forward, negative, pooled=None, **fields):
    with Guidance(Settings(layers="all", **fields), model, strict=True) as guidance:
        guidance.begin([999, 499])
        if guidance.needs_negative:
            guidance.set_negative(negative, pooled=pooled)
        guidance.step_at(999)
        guidance.call([(0, 0), (2, 1)], total=3)
        picture = forward()
        assert count_taps(model) > 0
    assert count_taps(model) == 0
    return picture, [layer["change"] for layer in guidance.report.per_layer.values()]


@pytest.mark.parametrize("method", METHODS)
def test_sd3_in_both_layouts_agrees_guided_and_unguided(sd3, method):
    model, mmdit = sd3
    x, t, y, context, negative = latents()

    def diffusers_forward():
        return model(hidden_states=x, encoder_hidden_states=context, pooled_projections=y, timestep=t).sample

    plain = diffusers_forward()
    torch.testing.assert_close(mmdit(x, t, y=y, context=context), plain, rtol=1e-4, atol=1e-5)
    one, changes = run(model, diffusers_forward, negative, **METHODS[method])
    # the negative's pooled embedding is the prompt's, whatever a host gives
    other, own = run(mmdit, lambda: mmdit(x, t, y=y, context=context), negative, torch.ones(2, 20), **METHODS[method])
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
    assert own == pytest.approx(changes, rel=1e-3) and min(own) > 0
    assert torch.equal(one[1], plain[1]) and (one[0] - plain[0]).abs().max() > 1e-3, "rows 0 and 2 only"
    assert torch.equal(diffusers_forward(), plain), "the model is as it was"


def test_a_negative_that_is_the_prompt_changes_nothing(sd3):
    _, mmdit = sd3
    x, t, y, context, _ = latents()
    picture, _ = run(mmdit, lambda: mmdit(x, t, y=y, context=context), context[[0, 2]], scale=5.0)
    torch.testing.assert_close(picture, mmdit(x, t, y=y, context=context), rtol=1e-4, atol=1e-5)


def test_the_layers_of_sd3_have_both_names(sd3):
    names = [(layer.name, layer.alias, layer.notation) for layer in find_layers(sd3[1])]
    assert names[1] == ("joint_blocks.1", "transformer_blocks.1.attn", "t1") and len(names) == 3


def test_what_is_for_unets_only_is_refused_in_words(sd3):
    with pytest.raises(LayerError, match="tpg_scale: this model is a transformer with joint attention"):
        Guidance(Settings(tpg_scale=3.0), sd3[1])


@pytest.mark.parametrize("own_image", [False, True], ids=["shared image", "own image"])
def test_chroma_is_flux_whose_text_has_the_modulations_it_is_given(both, own_image):  # noqa: F811
    model, flux = both
    img, txt, neg, vec, _, rotary = inputs(model)
    chroma, pe = ChromaBlocks(flux), matrices(rotary)
    with torch.no_grad():
        plain = flux(img, txt, vec, pe)
        torch.testing.assert_close(chroma(img, txt, vec, pe), plain)
    # Flux's negative with the prompt's embedding of time and text is what Chroma's always is
    one, changes = guided(bfl_flux, flux, neg, vec[list(ROWS)], lambda: flux(img, txt, vec, pe), own_image)
    other, own = guided(bfl_chroma, chroma, neg, None, lambda: chroma(img, txt, vec, pe), own_image)
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    assert own == pytest.approx(changes, rel=1e-3) and len(own) == 4 and min(own) > 0


def test_chroma_is_told_from_flux():
    module = torch.nn.Module()
    for part in bfl_chroma.PARTS:
        setattr(module, part, torch.nn.ModuleList())
    assert find.find_transformer(module).family is bfl_chroma
    module.time_in = module.vector_in = torch.nn.ModuleList()
    assert find.find_transformer(module).family is bfl_flux


def test_a_projection_that_does_not_say_its_width():
    """As quantised ones do not: the attention knows its heads' size."""
    attention = SimpleNamespace(num_heads=4, head_dim=16, proj=torch.nn.Identity())
    block = SimpleNamespace(context_block=SimpleNamespace(pre_only=False), x_block=SimpleNamespace(attn=attention))
    assert MMDiTBlock(0, block).width == 64
