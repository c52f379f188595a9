"""The one formula that composes all guidance: each of its three parts, and that the host's CFG gives the whole."""

import nag_reference
import pytest
import torch

from extras.nag.predictions.formula import combined, normalized_prediction, push


@pytest.fixture
def predictions():
    """u, t, q and two perturbed ones: (images, channels, height, width)."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, 4, 6, 5, generator=generator) for _ in range(5)]


@pytest.mark.parametrize("w", [1.0, 4.0])
def test_the_hosts_cfg_of_what_we_put_in_place_is_the_formula(predictions, w):
    u, t, q, p1, p2 = predictions
    n = normalized_prediction(t, q, 5.0, 2.5, 0.6)
    put = combined(t, n, [push(t, p1, 3.0, w), push(t, p2, 0.5, w)])
    wanted = nag_reference.all_together(u, t, w, (q, 5.0, 2.5, 0.6), [(3.0, p1), (0.5, p2)])
    torch.testing.assert_close(u + w * (put - u), wanted, rtol=1e-5, atol=1e-5)


def test_without_any_part_it_is_the_prediction(predictions):
    _, t, *_ = predictions
    assert torch.equal(combined(t, None, []), t)


def test_the_norm_is_that_of_an_image(predictions):
    """Each image by itself, over all of it: an image alone gives what it gives beside another."""
    _, t, q, *_ = predictions
    t, q = t * torch.tensor([1.0, 40.0])[:, None, None, None], q * 3
    both = normalized_prediction(t, q, 9.0, 1.5, 1.0)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], normalized_prediction(t[i : i + 1], q[i : i + 1], 9.0, 1.5, 1.0))
    assert both.shape == t.shape
    growth = both.flatten(1).abs().sum(1) / t.flatten(1).abs().sum(1)
    assert bool((growth <= 1.5 + 1e-5).all()) and float(growth[0]) == pytest.approx(1.5, abs=1e-4)


def test_strength_scales_the_push_and_is_full_by_default(predictions):
    _, t, q, *_ = predictions
    full, half = (normalized_prediction(t, q, 5.0, 2.5, 0.5, s) for s in (1.0, 0.5))
    assert torch.equal(normalized_prediction(t, q, 5.0, 2.5, 0.5), full)
    torch.testing.assert_close(half, normalized_prediction(t, q, 3.0, 2.5, 0.5))
    assert torch.equal(normalized_prediction(t, q, 5.0, 2.5, 0.5, 0.0), t)


def test_a_push_is_gamma_over_w_times_the_difference():
    t, p = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    assert push(t, p, 3.0, 2.0).tolist() == [[3.0, -1.5]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sums_are_made_in_float32_at_least_and_given_back_in_the_hosts_type(dtype):
    t, p = torch.full((1, 2), 1000.0, dtype=dtype), torch.full((1, 2), 1.0, dtype=dtype)
    term = push(t, p, 1.0, 1.0)
    assert term.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert term.tolist() == [[999.0, 999.0]], "not rounded to the host's type in between"
    made = combined(t, None, [term, term * -1 + 0.25])
    assert made.dtype == dtype and made.tolist() == torch.tensor([[1000.25, 1000.25]]).to(dtype).tolist()
    small = combined(torch.ones(1, 1, dtype=dtype), None, [torch.full((1, 1), 2e-3, dtype=dtype)] * 40)
    assert small.item() == pytest.approx(1.08, rel=4e-3), "many small terms do not vanish one by one"


def test_the_terms_are_added_to_the_guided_prediction(predictions):
    _, t, q, p, _ = predictions
    n = normalized_prediction(t, q, 5.0, 2.5, 0.6)
    assert torch.equal(combined(t, n, []), n)
    torch.testing.assert_close(combined(t, n, [push(t, p, 2.0, 1.0)]), n + 2 * (t - p))
