"""NAG and NAG-PAG on Flux, read from the pictures of the trained doodle in its layout. Fails when they stop acting."""

import numpy as np
import pytest

pytest.importorskip("diffusers")

from extras.doodle import demo, detect, flux_demo
from extras.doodle.flux_checkpoint import load
from extras.doodle.flux_measure import ARMS, STEPS, draw, measure, wilson
from extras.doodle.pairs import PAIRS
from extras.doodle.scores import Score

SEEDS = range(70, 76)
CROWN, BEARD = PAIRS_USED = tuple(pair for pair in PAIRS if pair.object in ("crown", "beard"))
USED = tuple(arm for arm in ARMS if arm.name in ("NAG", "NAG-PAG", "control: unknown word"))


@pytest.fixture(scope="module")
def pipe():
    return load()


@pytest.fixture(scope="module")
def measured(pipe):
    return measure(pipe, SEEDS, arms=USED, pairs=PAIRS_USED, keep=6)


def test_what_a_word_implies_is_in_the_untreated_pictures(measured):
    for had, subjects, count in measured.plain.values():
        assert had >= 5 and subjects >= 5 and count == 6


def test_nag_deletes_what_its_negative_names_and_keeps_the_rest(measured):
    one: Score = measured.all("NAG")
    assert one.deleted >= 0.6 * one.had and one.kept >= 0.9 * one.had
    assert np.mean(one.ssim) > 0.65


def test_an_unknown_word_deletes_next_to_nothing(measured):
    one = measured.all("control: unknown word")
    assert one.deleted <= 0.25 * one.had and one.deleted < measured.all("NAG").deleted


def test_nag_pag_changes_the_pictures_without_a_negative(measured):
    one = measured.all("NAG-PAG")
    assert min(measured.changes["NAG-PAG"]) > 0.02 and one.kept >= 0.9 * one.had
    for pair in PAIRS_USED:
        plain, pag = (measured.kept[pair.object, name].astype(int) for name in ("", "NAG-PAG"))
        assert np.abs(plain - pag).mean() > 0.5


def test_afterwards_the_pictures_are_as_before(pipe, measured):
    assert np.array_equal(draw(pipe, CROWN.prompt, SEEDS), measured.kept["crown", ""])


def test_eight_steps_give_the_same_kind_of_picture(pipe):
    pictures = draw(pipe, CROWN.prompt, SEEDS, 2 * STEPS)
    assert sum(detect.has(picture, "crown") for picture in pictures) >= 5


def test_the_demo_says_what_the_pixels_say(measured, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(flux_demo, "PAIRS", PAIRS_USED)
    monkeypatch.setattr(flux_demo, "ARMS", USED)
    monkeypatch.setattr(flux_demo, "measure", lambda *a, **k: measured)
    assert demo.main(["--flux", "--out", str(tmp_path), "--seeds", "2"]) == 0
    text = capsys.readouterr().out
    one = measured.all("NAG")
    assert f"NAG{' ' * 27} {one.deleted / one.had:.2f} (" in text and (tmp_path / "flux.png").exists()
    with pytest.raises(SystemExit):
        demo.main(["--flux", "--ckpt", str(tmp_path / "flux.json")])
    assert "this is no Flux doodle checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "of", "low", "high"), [(0, 0, 0, 1), (5, 10, 0.2366, 0.7634), (0, 20, 0, 0.1611)])
def test_intervals(count, of, low, high):  # the values are those of Newcombe 1998, method 3
    assert wilson(count, of) == pytest.approx((low, high), abs=1e-3)
