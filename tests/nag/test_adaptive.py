"""Strength that eases off where z_pos and z_neg do not, or no longer, differ."""

import pytest
import torch
from nag_guided import forward, settings
from nag_runs import TIMES, latents, text

from extras.nag.adaptive import Adaptive
from extras.nag.guidance import Guidance
from extras.nag.layers import Layer
from extras.nag.maths import normalized_guidance

LAYER = Layer("a", torch.nn.Identity(), "cross", "d0", 1, 6, 0)


def features(seed, rows=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, 6, generator=generator)


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_the_rule(power):
    """min(1, d / d_first)^power by token, d_first the image's mean in the first call, written out."""
    adaptive = Adaptive(power)
    firsts = {}
    for call in range(3):
        z, n = features(call), features(10 + call)
        got = adaptive.factor(LAYER, (4, 7), z, n, learn=True)
        assert got.shape == (2, 5, 1)
        for row, image in enumerate((4, 7)):
            d = [float((z[row, i] - n[row, i]).abs().sum() / z[row, i].abs().sum()) for i in range(5)]
            first = firsts.setdefault(image, sum(d) / 5)
            want = [min(1.0, x / first) ** power for x in d]
            assert got[row, :, 0].tolist() == pytest.approx(want, rel=1e-5)


def test_zero_is_off_and_features_of_nothing_are_no_trouble():
    assert Adaptive(0.0).factor(LAYER, (0, 1), features(0), features(1), learn=True) == 1.0
    zero = torch.zeros(1, 5, 6)
    assert Adaptive(1.0).factor(LAYER, (0,), zero, zero, learn=True).isfinite().all()


def test_an_extra_prediction_leaves_the_yardsticks():
    adaptive = Adaptive(1.0)
    adaptive.factor(LAYER, (0, 1), features(0), features(1), learn=False)
    first = adaptive.factor(LAYER, (0, 1), features(2), features(3), learn=True)
    assert torch.equal(first, Adaptive(1.0).factor(LAYER, (0, 1), features(2), features(3), learn=True))


def test_strength_of_each_token_in_the_rule():
    z, n, strength = features(0), features(1), torch.rand(2, 5, 1)
    got = normalized_guidance(z, n, 5.0, 2.5, 0.5, strength)
    for row in range(2):
        for token in range(5):
            alone = normalized_guidance(z[row, token], n[row, token], 5.0, 2.5, 0.5, float(strength[row, token]))
            torch.testing.assert_close(got[row, token], alone)


def test_it_weakens_guidance_and_more_so_with_more_power(unet):
    x, context, negatives = latents(2), text(77, 77), text(77, 154, seed=8)
    changes = [
        forward(unet, x, context, negatives, settings("NAG", adaptive=power))[1]["NAG"].mean_change
        for power in (0, 1, 4)
    ]
    assert changes[0] > changes[1] > changes[2] > 0


@pytest.mark.parametrize("method", ["NAG", "NAG-PAG"])
def test_a_batch_is_each_image_as_alone(sd1, unet, method):
    x, context, negatives = latents(3), text(77, 77, 77), text(77, 154, 77, seed=8)

    def steps(images):
        with Guidance(settings(method, "PAG", adaptive=2), unet.model, strict=True) as guidance:
            guidance.begin(TIMES)
            if method == "NAG":
                guidance.set_negative([negatives[i] for i in images])
            for t in TIMES[:2]:
                guidance.step_at(t)
                guidance.call([(k, k) for k in range(len(images))])
                out = unet(x[images] * t / 999, t, context[images])
        return out

    together = steps([0, 1, 2])
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], steps([i]), rtol=1e-4, atol=1e-5)
