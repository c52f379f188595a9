"""The negative text beside the prompt's through the blocks of real diffusers transformers (tiny, random, float64)."""

from __future__ import annotations

import pytest
import torch

diffusers = pytest.importorskip("diffusers")

from extras.nag.guidance import NO_SINGLE_BLOCK, Guidance  # noqa: E402
from extras.nag.layers import LayerError, find_layers  # noqa: E402
from extras.nag.settings import Settings  # noqa: E402
from extras.nag.taps import count_taps  # noqa: E402

WIDTH, POOLED = 32, 24


def flux(**more):
    torch.manual_seed(0)
    model = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=POOLED, axes_dims_rope=(4, 6, 6), **more,
    )  # fmt: skip
    call = {
        "hidden_states": torch.randn(2, 16, 16).double(),
        "img_ids": torch.randint(0, 4, (16, 3)).double(),
        "txt_ids": torch.zeros(7, 3).double(),
        "timestep": torch.tensor([0.7, 0.7]).double(),
    }
    if more.get("guidance_embeds"):
        call["guidance"] = torch.tensor([3.5, 3.5]).double()
    return model.double().eval(), call


def sd3(**more):
    torch.manual_seed(0)
    model = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, caption_projection_dim=32, pooled_projection_dim=POOLED, out_channels=4,
        pos_embed_max_size=16, **more,
    )  # fmt: skip
    call = {
        "hidden_states": torch.randn(2, 4, 8, 8).double(),
        "timestep": torch.tensor([700.0, 700.0]).double(),
    }
    return model.double().eval(), call


MODELS = [
    (flux, {}),
    (flux, {"guidance_embeds": True}),
    (sd3, {}),
    (sd3, {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1)}),
]
pytestmark = pytest.mark.parametrize(("make", "more"), MODELS, ids=["flux", "flux-dev", "sd3", "sd3.5-medium"])


def guided(model, call, negative, pooled, rows=(0,), own_image=False, **more):
    """(picture, report) with NAG in all blocks; ``negative`` (1, tokens, width)."""
    options = Settings.parse({"scale": 3.0, "tau": 2.5, "alpha": 0.5, "own_image": own_image, **more})
    with Guidance(options, model, strict=True) as guidance, torch.no_grad():
        guidance.begin([999, 749, 499, 249])
        guidance.set_negative(list(negative), pooled=list(pooled))
        guidance.step_at(749)
        guidance.call([(row, 0) for row in rows])
        picture = model(**call, return_dict=False)[0]
    assert count_taps(model) == 0
    return picture, guidance.report


def prompts(call):
    torch.manual_seed(1)
    return call | {
        "encoder_hidden_states": torch.randn(2, 7, WIDTH).double(),
        "pooled_projections": torch.randn(2, POOLED).double(),
    }


@pytest.mark.parametrize("own_image", [False, True], ids=["shared image", "own image"])
def test_a_negative_equal_to_the_prompt_is_the_prompt_in_every_block(make, more, own_image):
    model, call = make(**more)
    call = prompts(call)
    with torch.no_grad():
        plain = model(**call, return_dict=False)[0]
    text, pooled = call["encoder_hidden_states"][:1], call["pooled_projections"][:1]
    picture, report = guided(model, call, text, pooled, own_image=own_image)
    assert report.calls == report.layers == len(find_layers(model))
    assert report.warnings == [NO_SINGLE_BLOCK] * (own_image and make is sd3)
    assert all(layer["change"] < 1e-12 for layer in report.per_layer.values())
    torch.testing.assert_close(picture, plain, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("own_image", [False, True], ids=["shared image", "own image"])
def test_another_negative_of_another_length_moves_only_its_row(make, more, own_image):
    model, call = make(**more)
    call = prompts(call)
    with torch.no_grad():
        plain = model(**call, return_dict=False)[0]
    negative, pooled = torch.randn(1, 5, WIDTH).double(), torch.randn(1, POOLED).double()
    picture, report = guided(model, call, negative, pooled, rows=(1,), own_image=own_image)
    assert torch.equal(picture[0], plain[0])
    assert (picture[1] - plain[1]).abs().max() > 1e-3
    assert all(layer["change"] > 1e-3 for layer in report.per_layer.values())
    with torch.no_grad():
        assert torch.equal(model(**call, return_dict=False)[0], plain), "the model is as it was"
    still, _ = guided(model, call, negative, pooled, rows=(1,), own_image=own_image, scale=1.0)
    assert torch.equal(still, plain), "scale 1 changes nothing"


def test_only_the_layers_named(make, more):
    model, call = make(**more)
    call = prompts(call)
    negative, pooled = torch.randn(1, 5, WIDTH).double(), torch.randn(1, POOLED).double()
    _, report = guided(model, call, negative, pooled, layers="t1")
    assert list(report.per_layer) == ["transformer_blocks.1.attn"] and report.calls == 1
    with pytest.raises(LayerError, match=r"transformer_blocks\.99\.attn.*t0-t"):
        guided(model, call, negative, pooled, layers="transformer_blocks.99.attn")


def test_nag_pag_needs_no_negative_and_acts(make, more):
    model, call = make(**more)
    call = prompts(call)
    with torch.no_grad():
        plain = model(**call, return_dict=False)[0]
    options = Settings.parse({"nag": False, "nag_pag_scale": 3.0, "nag_pag_layers": "transformer_blocks.1.attn"})
    with Guidance(options, model, strict=True) as guidance, torch.no_grad():
        guidance.begin([999, 749, 499, 249])
        guidance.step_at(749)
        guidance.call([(0, 0)])
        picture = model(**call, return_dict=False)[0]
    assert torch.equal(picture[1], plain[1]) and (picture[0] - plain[0]).abs().max() > 1e-3
    assert guidance.reports["NAG-PAG"].calls == 1 and guidance.reports["NAG-PAG"].mean_change > 0
