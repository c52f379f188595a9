"""NAG on Flux, Chroma and SD3, NAG-PAG on Flux: a plain reading of the published methods (joint_reference)."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from diffusers import ChromaTransformer2DModel, FluxTransformer2DModel, SD3Transformer2DModel
from joint_reference import chroma_nag, flux_nag, flux_nag_pag, sd3_nag

from extras.nag.guidance import Guidance
from extras.nag.settings import Settings


@pytest.fixture(scope="module")
def flux():
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=3, num_single_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=24, axes_dims_rope=(4, 6, 6),
    ).double().eval()  # fmt: skip
    inputs = {
        "hidden_states": torch.randn(2, 16, 16).double(),
        "encoder_hidden_states": torch.randn(2, 7, 32).double(),
        "pooled_projections": torch.randn(2, 24).double(),
        "timestep": torch.tensor([0.7, 0.7]).double(),
        "img_ids": torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0)).double(),
        "txt_ids": torch.zeros(7, 3).double(),
    }
    return model, inputs


def run(model, inputs, values, negative=None, pooled=None, own_image=True):
    values = {**values, "own_image": own_image and negative is not None}
    with Guidance(Settings.parse(values), model, strict=True) as guidance, torch.no_grad():
        guidance.begin([999, 499])
        if negative is not None:
            guidance.set_negative(list(negative), pooled=list(pooled))
        guidance.step_at(999)
        guidance.call([(0, 0), (1, 1)])
        return model(**inputs, return_dict=False)[0]


@pytest.mark.parametrize(("scale", "tau", "alpha"), [(5.0, 2.5, 0.25), (11.0, 1.5, 1.0)])
def test_nag_with_the_negatives_own_image_is_the_published_method(flux, scale, tau, alpha):
    model, inputs = flux
    negative, pooled = torch.randn(2, 9, 32).double(), torch.randn(2, 24).double()
    values = {"scale": scale, "tau": tau, "alpha": alpha}
    ours = run(model, inputs, values, negative, pooled)
    torch.testing.assert_close(ours, flux_nag(model, inputs, negative, pooled, scale, tau, alpha), rtol=1e-6, atol=1e-7)


def test_sharing_the_image_differs_only_by_the_single_blocks(flux):
    model, inputs = flux
    negative, pooled = torch.randn(2, 9, 32).double(), torch.randn(2, 24).double()
    values = {"scale": 5.0, "tau": 2.5, "alpha": 0.25, "layers": "t0-t2"}
    shared = run(model, inputs, values, negative, pooled, own_image=False)
    assert torch.equal(shared, run(model, inputs, values, negative, pooled)), "double blocks: the same"
    values["layers"] = "all"
    shared = run(model, inputs, values, negative, pooled, own_image=False)
    published = run(model, inputs, values, negative, pooled)
    with torch.no_grad():
        plain = model(**inputs, return_dict=False)[0]
    ours, theirs = (shared - plain).flatten(), (published - plain).flatten()
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.9


@pytest.fixture(scope="module")
def chroma(flux):
    """(model, inputs); the prompts' padding is masked."""
    torch.manual_seed(1)
    model = ChromaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=3, num_single_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(4, 6, 6), approximator_num_channels=16, approximator_hidden_dim=32,
        approximator_layers=2,
    ).double().eval()  # fmt: skip
    model.time_text_embed.mod_proj = model.time_text_embed.mod_proj.double()
    inputs = {name: value for name, value in flux[1].items() if name != "pooled_projections"}
    mask = torch.ones(2, 7 + 16).double()
    mask[0, 3:7] = mask[1, 5:7] = 0
    return model, inputs | {"attention_mask": mask}


@pytest.mark.parametrize(("scale", "tau", "alpha"), [(5.0, 2.5, 0.25), (11.0, 1.5, 1.0)])
def test_nag_on_chroma_is_the_published_method(chroma, scale, tau, alpha):
    model, inputs = chroma
    negative, mask = torch.randn(2, 9, 32).double(), torch.ones(2, 9).double()
    mask[0, 4:] = 0
    values = {"scale": scale, "tau": tau, "alpha": alpha}
    ours = run(model, inputs, values, negative, mask)
    reference = chroma_nag(model, inputs, negative, mask, scale, tau, alpha)
    torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-7)
    unmasked = chroma_nag(model, inputs, negative, torch.ones_like(mask), scale, tau, alpha)
    assert (unmasked - reference).abs().max() > 1e-4, "the mask counts"


def test_the_prompt_itself_as_the_negative_changes_nothing_on_chroma(chroma):
    model, inputs = chroma
    with torch.no_grad():
        plain = model(**inputs, return_dict=False)[0]
    same = run(model, inputs, {"scale": 8.0}, inputs["encoder_hidden_states"], inputs["attention_mask"][:, :7])
    torch.testing.assert_close(same, plain, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("more", [{}, {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1)}], ids=["3", "3.5"])
@pytest.mark.parametrize(("scale", "tau", "alpha"), [(5.0, 2.5, 0.125), (11.0, 1.5, 1.0)])
def test_nag_on_sd3_is_the_published_method(more, scale, tau, alpha):
    torch.manual_seed(2)
    model = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=24, out_channels=4,
        pos_embed_max_size=16, **more,
    ).double().eval()  # fmt: skip
    inputs = {
        "hidden_states": torch.randn(2, 4, 8, 12).double(),
        "encoder_hidden_states": torch.randn(2, 7, 32).double(),
        "pooled_projections": torch.randn(2, 24).double(),
        "timestep": torch.tensor([700.0, 700.0]).double(),
    }
    negative, pooled = torch.randn(2, 9, 32).double(), torch.randn(2, 24).double()
    values = {"scale": scale, "tau": tau, "alpha": alpha}
    ours = run(model, inputs, values, negative, pooled, own_image=False)
    reference = sd3_nag(model, inputs, negative, scale, tau, alpha)
    torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-7)
    same = sd3_nag(model, inputs, inputs["encoder_hidden_states"], scale, tau, alpha)
    with torch.no_grad():
        torch.testing.assert_close(same, model(**inputs, return_dict=False)[0], rtol=1e-9, atol=1e-10)


def test_nag_pag_is_the_reference(flux):
    model, inputs = flux
    values = {
        "nag": False, "nag_pag_scale": 3.0, "nag_pag_tau": 2.5, "nag_pag_alpha": 0.7,
        "nag_pag_layers": "transformer_blocks.0.attn,transformer_blocks.2.attn",
    }  # fmt: skip
    ours = run(model, inputs, values)
    # the seed's scale counts from z_pos: s = 3 there is 4 in NAG's convention
    reference = flux_nag_pag(model, inputs, 4.0, 2.5, 0.7, {0, 2})
    torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-7)
