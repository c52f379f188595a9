"""Counted without a GPU: what a guided step asks of one, and that nothing in it waits for the device."""

import pytest
import torch

from extras.bench import arms, pretended
from extras.bench.arms import BASE, DUPLICATE, NAG, NAG_PAG, OUTSIDE
from extras.nag import kept, maths, taps


@pytest.fixture(scope="module", params=[("tiny-sdxl", torch.float16), ("tiny-sd15", torch.bfloat16)], ids=str)
def found(request):
    return pretended.launches(*request.param, 128), request.param[1]


def test_no_step_waits_for_the_device(found):
    counts, _ = found
    assert {step["waits"] for step in counts["steps"].values()} == {0}


def test_outside_its_window_a_step_launches_what_the_plain_one_does(found):
    counts, _ = found
    assert counts["steps"][OUTSIDE] == counts["steps"][BASE]


def test_how_much_guidance_launches(found):
    """One attention, and the rule: two inputs widened, eight operators on them; one more where float16 is kept finite.
    The account's sums are made once for all layers of a size: one tensor of them, and its sum."""
    counts, dtype = found
    more = {name: step["launches"] - counts["steps"][BASE]["launches"] for name, step in counts["steps"].items()}
    rule, sizes = (11, 2) if dtype == torch.float16 else (10, 4)
    assert more[NAG] == counts["layers"] * (1 + rule) + 2 * sizes
    assert 0 < more[NAG_PAG] <= counts["layers"] * rule
    assert more[DUPLICATE] > more[NAG]


def test_an_operator_that_waits_is_noticed(monkeypatch):
    own = taps.normalized_guidance

    def waiting(z_pos, *rest, **more):
        if bool(z_pos.abs().max() > 0):
            return own(z_pos, *rest, **more)
        return z_pos

    monkeypatch.setattr(taps, "normalized_guidance", waiting)
    with pytest.raises(Exception, match=r"data-dependent|_local_scalar_dense|bool"):
        pretended.launches("tiny-sd15", torch.float16, 128)


def test_nothing_of_it_stays(found):
    assert not any(device.type == "cuda" for device, *_ in kept._kept) or torch.cuda.is_available()
    assert all(type(x) is torch.Tensor for x in kept._kept.values())
    z = torch.randn(1, 3, 8)
    assert maths.normalized_guidance(z, -z, 3.0, 2.5, 0.5).isfinite().all()
    assert set(pretended.COUNTED) <= arms.WHAT.keys()
