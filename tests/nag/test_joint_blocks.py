"""The negative text beside the prompt's through the blocks of real diffusers transformers (tiny, random, float64)."""

from __future__ import annotations

import pytest
import torch

diffusers = pytest.importorskip("diffusers")

from extras.nag.joint import diffusers_flux, diffusers_sd3  # noqa: E402
from extras.nag.joint import taps as joint_taps  # noqa: E402
from extras.nag.joint.taps import JointState, JointTap  # noqa: E402
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
    return model.double().eval(), diffusers_flux, call


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
    return model.double().eval(), diffusers_sd3, call


MODELS = [
    (flux, {}),
    (flux, {"guidance_embeds": True}),
    (sd3, {}),
    (sd3, {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1)}),
]
pytestmark = pytest.mark.parametrize(("make", "more"), MODELS, ids=["flux", "flux-dev", "sd3", "sd3.5-medium"])


def guided(model, family, call, negative, pooled, rows=(0,), monkeypatch=None, scale=3.0):
    """(picture, [z_pos, z_neg] of each block, state)."""
    state = JointState(scale, 2.5, 0.5, strict=True, strength=1.0)
    taps = [JointTap(block, state, i) for i, block in enumerate(family.blocks(model))]
    seen = []
    rule = joint_taps.normalized_guidance

    def spy(z_pos, z_neg, *rest):
        seen.append((z_pos.clone(), z_neg.clone()))
        return rule(z_pos, z_neg, *rest)

    def enter(module, args, kwargs):
        state.streams = [family.streams(module, kwargs, rows, negative, pooled)]

    with monkeypatch.context() as patch:
        patch.setattr(joint_taps, "normalized_guidance", spy)
        for tap in taps:
            tap.install(tap.block.block)
        handle = model.register_forward_pre_hook(enter, with_kwargs=True)
        try:
            with torch.no_grad():
                return model(**call, return_dict=False)[0], seen, state
        finally:
            handle.remove()
            for tap in taps:
                tap.remove()
            assert count_taps(model) == 0


def prompts(call):
    torch.manual_seed(1)
    return call | {
        "encoder_hidden_states": torch.randn(2, 7, WIDTH).double(),
        "pooled_projections": torch.randn(2, POOLED).double(),
    }


def test_a_negative_equal_to_the_prompt_is_the_prompt_in_every_block(make, more, monkeypatch):
    model, family, call = make(**more)
    call = prompts(call)
    with torch.no_grad():
        plain = model(**call, return_dict=False)[0]
    text, pooled = call["encoder_hidden_states"][:1], call["pooled_projections"][:1]
    picture, seen, state = guided(model, family, call, text, pooled, monkeypatch=monkeypatch)
    assert len(seen) == len(family.blocks(model)) and not state.missed
    for z_pos, z_neg in seen:
        torch.testing.assert_close(z_neg, z_pos, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(picture, plain, rtol=1e-11, atol=1e-12)


def test_another_negative_of_another_length_moves_only_its_row(make, more, monkeypatch):
    model, family, call = make(**more)
    call = prompts(call)
    with torch.no_grad():
        plain = model(**call, return_dict=False)[0]
    negative, pooled = torch.randn(1, 5, WIDTH).double(), torch.randn(1, POOLED).double()
    picture, _, state = guided(model, family, call, negative, pooled, rows=(1,), monkeypatch=monkeypatch)
    assert torch.equal(picture[0], plain[0])
    assert (picture[1] - plain[1]).abs().max() > 1e-3
    assert all(change > 0 for *_, change in state.changes)
    with torch.no_grad():
        assert torch.equal(model(**call, return_dict=False)[0], plain), "the model is as it was"
    still, *_ = guided(model, family, call, negative, pooled, rows=(1,), monkeypatch=monkeypatch, scale=1.0)
    assert torch.equal(still, plain), "scale 1 changes nothing"
