"""The silences that `measure.py` measures with: each still has its place in the code, and is what it says it is."""

import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "nag")]

import measure  # noqa: E402
import nag_tiny  # noqa: E402
from nag_guided import ONE, forward  # noqa: E402
from nag_guided import settings as options  # noqa: E402
from nag_runs import latents, text  # noqa: E402
from silences import SILENCES  # noqa: E402

INSIDE_A_UNET = {"NAG, UNets": "NAG", "NAG-PAG, UNets": "NAG-PAG", "TPG": "TPG", "PAG": "PAG", "Three-way": "three-way"}


@pytest.mark.parametrize("silence", SILENCES, ids=lambda s: s.name)
def test_it_has_its_place_and_leaves_it(silence):
    owner, name = silence.place()
    before = getattr(owner, name)
    take_away = silence.put()
    assert getattr(owner, name) is not before
    take_away()
    assert getattr(owner, name) is before
    for path, _, test in (name.partition("::") for name in silence.tests):
        assert f"def {test}(" in (measure.ROOT / path).read_text("utf-8") if test else (measure.ROOT / path).exists()


@pytest.mark.parametrize("silence", [s for s in SILENCES if s.name in INSIDE_A_UNET], ids=lambda s: s.name)
def test_a_silenced_method_draws_as_without_it_and_reports_as_with_it(silence):
    unet, x, context, negatives = (
        nag_tiny.Callable(nag_tiny.sd1()),
        latents(4),
        text(77, 77, 77, 77),
        text(77, 77, seed=8),
    )
    method = INSIDE_A_UNET[silence.name]
    plain = forward(unet, x, context, None, options(), 6.0)[0]
    acting, told = forward(unet, x, context, negatives, options(method), 6.0)
    take_away = silence.put()
    try:
        silent, still_told = forward(unet, x, context, negatives, options(method), 6.0)
        others = [forward(unet, x, context, negatives, options(name), 6.0)[0] for name in ONE if name != method]
    finally:
        take_away()
    assert torch.equal(silent, plain) and not torch.equal(acting, plain)
    assert still_told[method].calls == told[method].calls > 0
    assert not any(torch.equal(other, plain) for other in others), "it silences this one alone"


def test_every_name_is_there_once_and_the_page_has_them_all():
    names = [silence.name for silence in SILENCES]
    assert len(set(names)) == len(names)
    counts = dict(line.split(" | ")[::3][:2] for line in _rows())
    assert list(counts) == [f"| {name}" for name in names], "run: python tests/silence/measure.py"
    assert all(int(count.partition(" of ")[0]) > 0 for count in counts.values())


def _rows():
    part = measure.PART.search(measure.PAGE.read_text("utf-8"))
    return part[0].splitlines()[3:-1]
