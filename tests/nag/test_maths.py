"""The formula against a plain float64 reference, and the identities that hold exactly."""

import nag_reference
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extras.nag.maths import normalized_guidance

SCALES = st.floats(1, 15)
TAUS = st.floats(1, 8)
ALPHAS = st.floats(0, 1)


@st.composite
def features(draw, dtype=torch.float32, pairs=True):
    """(z_pos, z_neg) of a random shape; some rows zero, some equal, magnitudes far apart."""
    batch, tokens, width = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 24))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = 10.0 ** draw(st.integers(-6, 4))
    z_pos = torch.randn(batch, tokens, width, generator=generator, dtype=torch.float64) * size
    z_neg = torch.randn(batch, tokens, width, generator=generator, dtype=torch.float64) * size
    kind = draw(st.sampled_from(["plain", "zero_pos", "zero_neg", "zero_both", "equal_row", "opposite"]))
    if kind in ("zero_pos", "zero_both"):
        z_pos[0, 0] = 0
    if kind in ("zero_neg", "zero_both"):
        z_neg[0, 0] = 0
    if kind == "equal_row":
        z_neg[0, 0] = z_pos[0, 0]
    if kind == "opposite":
        z_neg[0, 0] = -z_pos[0, 0]
    return z_pos.to(dtype), z_neg.to(dtype)


def reference(z_pos, z_neg, scale, tau, alpha):
    rows = nag_reference.normalized(
        z_pos.double().flatten(0, 1).tolist(), z_neg.double().flatten(0, 1).tolist(), scale, tau, alpha
    )
    return torch.tensor(rows, dtype=torch.float64).reshape(z_pos.shape)


@given(features(), SCALES, TAUS, ALPHAS)
def test_equals_the_float64_reference(z, scale, tau, alpha):
    out = normalized_guidance(*z, scale, tau, alpha)
    want = reference(*z, scale, tau, alpha)
    room = 1e-5 * (z[0].double().abs().amax() + z[1].double().abs().amax()) * (1 + scale) + 1e-30
    assert (out.double() - want).abs().amax() <= room


@given(features(torch.float64), SCALES, TAUS, ALPHAS)
def test_float64_stays_float64(z, scale, tau, alpha):
    out = normalized_guidance(*z, scale, tau, alpha)
    assert out.dtype == torch.float64
    torch.testing.assert_close(out, reference(*z, scale, tau, alpha), rtol=1e-10, atol=1e-10 * z[0].abs().amax().item())


@given(features(torch.bfloat16), SCALES, TAUS, ALPHAS)
def test_low_precision_is_computed_in_float32(z, scale, tau, alpha):
    out = normalized_guidance(*z, scale, tau, alpha)
    exact = normalized_guidance(z[0].float(), z[1].float(), scale, tau, alpha)
    assert out.dtype == torch.bfloat16 and torch.equal(out, exact.bfloat16())


@given(features(), TAUS, ALPHAS)
def test_scale_one_is_the_positive(z, tau, alpha):
    assert torch.equal(normalized_guidance(*z, 1.0, tau, alpha), z[0])


@given(features(), SCALES, TAUS)
def test_alpha_zero_is_the_positive(z, scale, tau):
    assert torch.equal(normalized_guidance(*z, scale, tau, 0.0), z[0])


@given(features(), SCALES, TAUS, ALPHAS, st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_equal_branches_give_the_positive(z, scale, tau, alpha, dtype):
    z_pos = z[0].clamp(-6e4, 6e4).to(dtype)
    assert torch.equal(normalized_guidance(z_pos, z_pos.clone(), scale, tau, alpha), z_pos)


@given(features(), SCALES, TAUS, ALPHAS)
def test_strength_zero_is_off_and_between_scales_s_minus_one(z, scale, tau, alpha):
    assert torch.equal(normalized_guidance(*z, scale, tau, alpha, strength=0.0), z[0])
    half = normalized_guidance(*z, scale, tau, alpha, strength=0.5)
    torch.testing.assert_close(half, normalized_guidance(*z, 1 + 0.5 * (scale - 1), tau, alpha))


@given(features(torch.float64), SCALES, TAUS, ALPHAS)
def test_norm_is_bounded(z, scale, tau, alpha):
    out = normalized_guidance(*z, scale, tau, alpha)
    bound = (alpha * tau + 1 - alpha) * z[0].abs().sum(-1)
    assert (out.abs().sum(-1) <= bound * (1 + 1e-9)).all()


@given(features(), SCALES, TAUS, ALPHAS, st.randoms(use_true_random=False))
def test_rows_are_independent(z, scale, tau, alpha, random):
    out = normalized_guidance(*z, scale, tau, alpha)
    order = list(range(len(z[0])))
    random.shuffle(order)
    assert torch.equal(normalized_guidance(z[0][order], z[1][order], scale, tau, alpha), out[order])
    single = torch.cat([normalized_guidance(p[None], n[None], scale, tau, alpha) for p, n in zip(*z, strict=True)])
    torch.testing.assert_close(single, out, rtol=1e-6, atol=0)


@given(st.integers(0, 2**31), st.floats(1.1, 15), TAUS, st.floats(0.05, 1))
def test_it_acts_where_the_branches_differ(seed, scale, tau, alpha):
    z_pos, z_neg = torch.randn(2, 1, 3, 8, generator=torch.Generator().manual_seed(seed))
    out = normalized_guidance(z_pos, z_neg, scale, tau, alpha)
    assert (out - z_pos).abs().sum() > 1e-3 * z_pos.abs().sum()


def test_zero_rows_stay_zero_and_finite():
    zero, some = torch.zeros(1, 1, 8), torch.randn(1, 1, 8)
    assert torch.equal(normalized_guidance(zero, zero, 5, 2.5, 0.5), zero)
    assert torch.equal(normalized_guidance(zero, some, 5, 2.5, 0.5), zero)
    assert normalized_guidance(some, zero, 5, 2.5, 0.5).isfinite().all()
    # g = 0 exactly: z_neg = 2 z_pos at s = 2.
    torch.testing.assert_close(normalized_guidance(some, 2 * some, 2, 2.5, 0.5), 0.5 * some)


def test_float16_overflow_stays_finite():
    z_pos = torch.full((1, 2, 64), 6e4, dtype=torch.float16)
    z_neg = -z_pos
    z_pos[0, 1, 1:] = 0  # one huge value in an otherwise empty row
    out = normalized_guidance(z_pos, z_neg, 15, 5, 1.0)
    assert out.dtype == torch.float16 and out.isfinite().all() and not torch.equal(out, z_pos)


def test_negative_may_broadcast_over_the_batch():
    z_pos, z_neg = torch.randn(3, 4, 8), torch.randn(1, 4, 8)
    out = normalized_guidance(z_pos, z_neg, 4, 2.5, 0.5)
    assert torch.equal(out, normalized_guidance(z_pos, z_neg.expand(3, 4, 8), 4, 2.5, 0.5))


def test_inputs_are_left_alone():
    z_pos, z_neg = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    copies = z_pos.clone(), z_neg.clone()
    normalized_guidance(z_pos, z_neg, 4, 2.5, 0.5)
    assert torch.equal(z_pos, copies[0]) and torch.equal(z_neg, copies[1])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("scale", (float("nan"), 2.5, 0.5, 1.0)),
        ("tau", (3, -1, 0.5, 1.0)),
        ("alpha", (3, 2.5, 1.5, 1.0)),
        ("strength", (3, 2.5, 0.5, -0.1)),
    ],
)
def test_numbers_out_of_range_are_named(name, values):
    z = torch.ones(1, 1, 2)
    with pytest.raises(ValueError, match=name):
        normalized_guidance(z, z, *values)
