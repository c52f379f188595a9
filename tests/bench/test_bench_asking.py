"""What a step asks of the CPU beside a GPU: measured on models that have nothing to compute."""

import pytest
import torch

from extras.bench import asking
from extras.bench.arms import BASE, DUPLICATE, FUSED, NAG, OFF
from extras.bench.report import _asked
from extras.bench.shapes import SHAPES
from extras.nag import fused, maths, taps
from extras.nag.branches import padding
from extras.nag.layers import find_layers


@pytest.fixture(scope="module")
def found():
    return asking.asked("tiny-sd15", 4)


@pytest.mark.parametrize("name", ["sd15", "sdxl", "tiny-sdxl"])
def test_a_thin_model_has_the_same_layers_and_operators(name):
    whole, thin = SHAPES[name].empty(), SHAPES[name].thin().empty()
    assert [type(m) for m in whole.modules()] == [type(m) for m in thin.modules()]
    assert len(find_layers(whole)) == len(find_layers(thin))
    assert sum(p.numel() for p in thin.parameters()) < 2e6


def test_every_way_is_compared(found):
    assert found["steps"].keys() == set(asking.COMPARED) and found["layers"] == 16
    assert all(step["n"] == 4 for step in found["steps"].values())
    assert found["steps"][BASE]["median"] == 1.0 and found["seconds"] > 0


def test_guidance_asks_for_more(found):
    assert min(found["steps"][name]["low"] for name in (NAG, FUSED, DUPLICATE)) > found["steps"][OFF]["median"] - 0.1
    assert found["steps"][NAG]["median"] > 1.02, "else it does not act"


def test_it_is_told_in_a_sentence(found):
    text = _asked(found)
    assert "4 rounds" in text and "each of the 16 layers" in text and f"`{DUPLICATE}`" in text
    assert f"`{NAG}` {found['steps'][NAG]['median']:.3f}" in text


def test_nothing_of_it_stays(found):
    before = padding._MASKS_ARE_FAST, taps._on_cpu, maths._length, fused._direct, torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), asking.as_on_a_gpu():
        assert torch.get_num_threads() == 1 and fused._direct is not before[3]
        1 / 0  # noqa: B018
    assert before == (padding._MASKS_ARE_FAST, taps._on_cpu, maths._length, fused._direct, torch.get_num_threads())
