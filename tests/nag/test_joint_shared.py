"""The image's attention to itself, computed once for both texts: the same features, in half the work."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("diffusers")

from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from extras.nag.guidance import Guidance
from extras.nag.joint import shared
from extras.nag.joint.diffusers_flux import FluxBlock
from extras.nag.joint.shared import ImagePart, Sharing
from extras.nag.joint.text import TextSource
from extras.nag.settings import Settings

TEXT, IMAGE, OWN = 7, 16, 9


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has met no kind of attention yet."""
    monkeypatch.setattr(shared, "_sound", set())
    monkeypatch.setattr(shared, "_refused", set())


def softmax_attention(q, k, v):
    """Written out, in float64."""
    q, k, v = (x.double() for x in (q, k, v))
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def part_of(q, k, v):
    return ImagePart(tuple(range(len(q))), q, k, v, *shared._with_sums(q, k, v))


@given(
    st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 16, 64]), st.floats(0, 20),
    st.integers(0, 99),
)  # fmt: skip
def test_the_parts_together_are_the_whole(rows, image, text, size, loud, seed):
    torch.manual_seed(seed)
    q, k, v = (torch.randn(rows, 2, image, size, dtype=torch.float64) for _ in range(3))
    text_q, text_k, text_v = (torch.randn(rows, 2, text, size, dtype=torch.float64) for _ in range(3))
    text_k *= loud
    part, joined = part_of(q, k, v), (torch.cat([text_k, k], 2), torch.cat([text_v, v], 2))
    near = {"rtol": 1e-9, "atol": 1e-11}
    torch.testing.assert_close(part.beside(text_k, text_v), softmax_attention(q, *joined), **near)
    torch.testing.assert_close(part.asked_by(text_q, text_k, text_v), softmax_attention(text_q, *joined), **near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loud", [0.0, 1.0, 4.0], ids=["text like any", "text heard", "text drowns the image"])
def test_rounding_is_that_of_the_whole(dtype, loud):
    """Error against float64, beside that of torch's own attention over both."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 4, 300, 64).to(dtype) for _ in range(3))
    text_k = (torch.randn(1, 4, 50, 64) * (1 + loud)).to(dtype)
    text_v = torch.randn(1, 4, 50, 64).to(dtype)
    joined = torch.cat([text_k, k], 2), torch.cat([text_v, v], 2)
    exact = softmax_attention(q, *joined)
    whole = (scaled_dot_product_attention(q, *joined) - exact).abs()
    ours = (part_of(q, k, v).beside(text_k, text_v) - exact).abs()
    assert ours.mean() <= 2 * whole.mean() and ours.max() <= 3 * whole.max()


def flux():
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=24, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    ids = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
    return model, {"hidden_states": torch.randn(2, IMAGE, 16), "img_ids": ids, "txt_ids": torch.zeros(TEXT, 3)}


def sd3():
    torch.manual_seed(0)
    model = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=24, out_channels=4,
        pos_embed_max_size=16, dual_attention_layers=(0,),
    )  # fmt: skip
    return model, {"hidden_states": torch.randn(2, 4, 8, 8)}


def with_prompts(make):
    """(model, the arguments of its forward)."""
    model, call = make()
    more = {
        "encoder_hidden_states": torch.randn(2, TEXT, 32),
        "pooled_projections": torch.randn(2, 24),
        "timestep": torch.tensor([0.7, 0.7]),
    }
    return model.eval(), call | more


@pytest.fixture(params=[flux, sd3], ids=["flux", "sd3"])
def made(request):
    return with_prompts(request.param)


def guided(made, **values):
    """(prediction, report), each row with a negative of its own length."""
    model, call = made
    torch.manual_seed(3)
    negatives, pooled = [torch.randn(OWN, 32), torch.randn(OWN + 4, 32)], list(torch.randn(2, 24))
    options = Settings.parse({"scale": 5.0, "tau": 2.5, "alpha": 0.25, **values})
    with Guidance(options, model, strict=True) as guidance, torch.no_grad():
        guidance.begin([999, 499])
        guidance.set_negative(negatives, pooled=pooled)
        guidance.step_at(999)
        guidance.call([(0, 0), (1, 1)])
        return model(**call, return_dict=False)[0], guidance.report


def apart(monkeypatch):
    """The negative's attention on its own, as where nothing can be shared."""
    monkeypatch.setattr(TextSource, "shares", lambda self, block, call: False)


def test_the_picture_is_that_of_two_attentions(made, monkeypatch, fresh):
    together, report = guided(made)
    assert not shared._refused and shared._sound
    apart(monkeypatch)
    alone, other = guided(made)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert report.calls == other.calls == report.layers and not report.warnings
    assert report.mean_change == pytest.approx(other.mean_change, rel=1e-4)


def test_the_image_attends_to_itself_once(made, monkeypatch):
    """Query-key pairs of all attentions of a guided step: the plain step's, and little more."""

    def pairs(go):
        met = []
        own = shared._with_sums
        monkeypatch.setattr(shared, "_with_sums", lambda q, k, v: met.append(q.shape[2] * k.shape[2]) or own(q, k, v))
        go()
        monkeypatch.setattr(shared, "_with_sums", own)
        return met

    met = pairs(lambda: guided(made))
    blocks = guided(made)[1].layers
    assert met.count(IMAGE * IMAGE) == blocks, "once in each block, for both rows"
    apart(monkeypatch)
    assert pairs(lambda: guided(made)) == []


def test_scale_one_and_other_methods_leave_the_attention_whole(made, monkeypatch):
    monkeypatch.setattr(Sharing, "_in_parts", lambda *args: pytest.fail("taken apart"))
    model, call = made
    with torch.no_grad():
        plain = model(**call, return_dict=False)[0]
    assert torch.equal(guided(made, scale=1.0)[0], plain)
    guided(made, nag=False, nag_pag_scale=3.0)


@pytest.mark.parametrize("fault", ["no kernel", "sums of powers of two", "not a number"])
def test_without_such_a_kernel_the_host_attends_as_ever(made, monkeypatch, fresh, fault):
    own = shared._with_sums

    def broken(q, k, v):
        if fault == "no kernel":
            raise AttributeError("no such operator")
        features, sums = own(q, k, v)
        return features, sums / math.log(2) if fault == "sums of powers of two" else sums * math.nan

    monkeypatch.setattr(shared, "_with_sums", broken)
    found, report = guided(made)
    assert shared._refused and not report.error and report.calls == report.layers
    apart(monkeypatch)
    assert torch.equal(found, guided(made)[0])


def test_where_others_change_the_values_the_prompts_part_is_not_taken_for_the_images(made, monkeypatch, fresh):
    """A host that puts its tokens the other way round, say: found out by the values, and nothing is shared."""
    model, _ = made
    own = Sharing.__init__

    def turned(self, rows, heads, text, image, text_first):
        own(self, rows, heads, text, image, not text_first)

    monkeypatch.setattr(Sharing, "__init__", turned)
    found, report = guided(made)
    apart(monkeypatch)
    torch.testing.assert_close(found, guided(made)[0], rtol=1e-4, atol=1e-5)
    assert report.calls == report.layers
    assert all("forward" not in vars(module) for module in model.modules())


def test_a_block_of_which_too_little_was_seen_is_told_as_out_of_reach(monkeypatch, fresh):
    """Even where its attention could be taken apart: nothing tells whether those tokens are the image's."""
    seen = FluxBlock.captures.fget
    monkeypatch.setattr(FluxBlock, "captures", property(lambda self: seen(self)[:2]))
    _, report = guided(with_prompts(flux))
    assert not report.calls and not report.error and "could not be guided" in report.warnings[0]


@pytest.mark.parametrize(
    "more",
    [{"attn_mask": torch.zeros(TEXT + IMAGE, TEXT + IMAGE)}, {"is_causal": True}, {"scale": 0.5}, {"dropout_p": 0.1}],
    ids=lambda more: next(iter(more)),
)
def test_only_plain_softmax_is_taken_apart(more):
    q, k, v = (torch.randn(1, 2, TEXT + IMAGE, 16) for _ in range(3))
    with Sharing([0], 2, TEXT, IMAGE, True) as sharing:
        torch.manual_seed(0)
        found = scaled_dot_product_attention(q, k, v, **more)
    torch.manual_seed(0)
    assert torch.equal(found, scaled_dot_product_attention(q, k, v, **more)) and sharing.part is None


def test_where_torch_casts_or_learns_the_attention_is_left_to_it():
    q, k, v = (torch.randn(1, 2, TEXT + IMAGE, 16) for _ in range(3))
    with Sharing([0], 2, TEXT, IMAGE, True) as sharing, torch.autocast("cpu", torch.bfloat16):
        assert scaled_dot_product_attention(q, k, v).dtype == torch.bfloat16
        scaled_dot_product_attention(q.requires_grad_(), k, v)
    assert sharing.part is None


@pytest.mark.parametrize("shape", [(1, 2, IMAGE, 16), (1, 4, TEXT + IMAGE, 16), (2, TEXT + IMAGE, 16)])
def test_other_attentions_of_the_block_are_left_alone(shape):
    q, k, v = (torch.randn(shape) for _ in range(3))
    with Sharing([0], 2, TEXT, IMAGE, True) as sharing:
        found = scaled_dot_product_attention(q, k, v)
    assert torch.equal(found, scaled_dot_product_attention(q, k, v)) and sharing.part is None


def test_rows_that_are_not_guided_keep_the_hosts_own_result():
    q, k, v = (torch.randn(3, 2, TEXT + IMAGE, 16) for _ in range(3))
    whole = scaled_dot_product_attention(q, k, v)
    with Sharing([2, 0], 2, TEXT, IMAGE, False) as sharing:
        found = scaled_dot_product_attention(q, k, v)
    assert torch.equal(found[1], whole[1])
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)
    assert sharing.part is not None and sharing.part.rows == (0, 2)
    assert torch.equal(sharing.part.of([2]).q, q[2:, :, :IMAGE])
