"""The pictures of the pages are those that the commands of today make."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extras.nag.schedule import ranges
from extras.nag.settings import load_preset
from extras.studio.commands.environment import SetupError
from extras.studio.commands.pictures import PICTURES
from extras.studio.commands.pictures import main as pictures
from extras.studio.pictures import parameters, rule

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"


def test_the_rule_is_drawn_by_the_rule():
    at = {name: np.array(place) for name, place in rule.points().items()}
    ahead, side = at["1"] - at["z⁺"], at["z⁺"] - at["z⁻"]
    assert np.allclose(ahead, (rule.SCALE - 1) * side, atol=1e-5)
    assert np.abs(at["2"]).sum() == pytest.approx(rule.TAU * np.abs(at["z⁺"]).sum())
    assert np.allclose(at["3"], rule.ALPHA * at["2"] + (1 - rule.ALPHA) * at["z⁺"], atol=1e-5)
    assert (FOLDER / "rule.svg").read_text("utf-8") == rule.svg(), "run: python nagtime.py pictures rule"


def test_the_sheet_of_parameters_is_of_todays_preset_and_says_the_steps():
    told = json.loads((FOLDER / "parameters.json").read_text("utf-8"))
    arms = parameters.arms()
    assert {name: told["arms"][name]["settings"] for name in told["arms"] if name != "off"} == {
        arm.name: arm.nag for arm in arms.values()
    }, "run: python nagtime.py pictures parameters"
    assert dict(load_preset(parameters.PRESET).settings) in [arm.nag for arm in arms.values()]
    for row in parameters.ROWS:
        assert parameters.PRESET in [arms[row.name, label].name for label, _ in row.columns], (
            "the preset's own is framed"
        )
    for label, _ in parameters.ROWS[-1].columns:
        steps = ranges(told["arms"][arms["window", label].name]["guided_steps"])
        assert label.removeprefix("steps ").removeprefix("step ") == {"1-4": "all"}.get(steps, steps)


def test_a_sheet_has_a_place_for_every_picture():
    arms = parameters.arms()
    pairs = [pair for pair in parameters.PAIRS if pair.object in parameters.SHOWN]
    names = {place: arm.name for place, arm in arms.items()}
    colours = {name: i for i, name in enumerate(["off", *dict.fromkeys(names.values())])}
    kept = {
        (pair.object, name): np.full((1, 128, 128, 3), 8 * i, np.uint8) for pair in pairs for name, i in colours.items()
    }
    numbers = {name: {"deletion_rate": 0.5, "subject_kept": 1.0} for name in colours}
    sheet = np.asarray(parameters.sheet(names, kept, numbers, pairs))
    seen = set(map(tuple, sheet[::16, ::16].reshape(-1, 3).tolist()))
    assert {(8 * i,) * 3 for i in colours.values()} <= seen


def test_the_animation_lasts_half_a_minute_and_is_small():
    path = FOLDER / "panel.webp"
    assert path.stat().st_size < 3_000_000
    with Image.open(path) as film:
        assert film.n_frames > 60 and film.width >= 900
        lasts = 0
        for i in range(film.n_frames):
            film.seek(i)
            film.load()
            lasts += film.info["duration"]
    assert 24_000 <= lasts <= 40_000


def test_the_command_draws_what_is_asked_for(tmp_path, capsys):
    assert pictures(["rule", "--out", str(tmp_path)]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["rule.svg"] and "rule.svg" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        pictures(["nonesuch", "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert "nonesuch" in said and [name for name in PICTURES if name not in said] == []


@pytest.mark.parametrize("url", ["127.0.0.1:7860", "ftp://127.0.0.1", "http://", "http://[", "http://a:port"])
def test_a_host_is_an_address_of_a_page(url, tmp_path, capsys):
    with pytest.raises(SystemExit):
        pictures(["--host", url, "--out", str(tmp_path / "new")])
    said = capsys.readouterr().err
    assert f"--host: {url!r} is no address, allowed: http" in said and not (tmp_path / "new").exists()


@pytest.mark.parametrize("given", [["host"], ["rule", "--host", "http://127.0.0.1:7860"]])
def test_the_picture_of_a_host_and_its_address_go_together(given, tmp_path, capsys):
    with pytest.raises(SystemExit):
        pictures([*given, "--out", str(tmp_path / "new")])
    assert "'host' and --host URL go together" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_a_host_that_does_not_answer_is_named(tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SetupError, match=f"{url}: nobody answers there"):
            pictures(["--host", url, "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_the_picture_of_a_host_is_small():
    path = FOLDER / "host.png"
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert picture.width >= 800
