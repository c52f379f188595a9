"""The search finds the frontier of a surface whose answer is known, within its budget, and can be repeated."""

from __future__ import annotations

import json

import pytest
from lab_fake import PLAN, Fake, run

from extras.lab import measure, plan, search
from extras.lab.errors import LabError
from extras.lab.metrics import METRICS, Metric
from extras.nag.settings import load_preset


@pytest.fixture
def surface(monkeypatch):
    """Deletion rises with alpha, and more so where step 3 is guided; preservation falls with alpha and each step."""

    def outcome(picture, untreated, spec):
        return spec["alpha"] * (1.0 if "3" in steps(spec) else 0.5) if spec["alpha"] == spec["alpha"] else 0.0

    def preservation(picture, untreated, spec):
        return 1 - 0.1 * spec["alpha"] * len(steps(spec)) if spec["alpha"] == spec["alpha"] else 1.0

    def steps(spec):
        first, _, last = spec["guided"].partition("-")
        return "".join(map(str, range(int(first), int(last or first) + 1)))

    for name, function in (("clean", outcome), ("ssim_background", preservation)):
        monkeypatch.setitem(METRICS, name, Metric(name, name, "higher", None, "", function))
    return measure


def load(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(PLAN, encoding="utf-8")
    return plan.load(path)


def test_it_finds_the_window_of_a_known_surface(tmp_path, monkeypatch, surface):
    monkeypatch.setenv("NAG_TIME_PRESETS", str(tmp_path / "presets"))
    engine = Fake()
    found = search.search(load(tmp_path), tmp_path / "run", engine, budget=62, preset="Mine")
    assert found.pictures <= 62 and engine.drawn <= found.pictures
    assert found.best.steps == "3", "one step, the one that acts"
    assert found.preset == tmp_path / "presets" / "Mine.json"
    preset = load_preset("Mine", tmp_path / "presets")
    assert preset.settings == found.best.settings and preset.host["steps"] == 4
    assert json.loads(found.preset.read_text())["name"] == "Mine"
    for point in found.frontier:
        assert not any(p.outcome > point.outcome and p.preservation > point.preservation for p in found.points), (
            "a point of the frontier is beaten"
        )
    again = Fake()
    assert search.search(load(tmp_path), tmp_path / "run", again, budget=62, preset="Mine").best == found.best
    assert again.drawn == 0, "repeated, it costs nothing"


def test_every_window_of_four_steps_is_a_different_one(tmp_path):
    windows = search._windows(load(tmp_path).models["few"])
    assert set(windows) == {"1", "1-2", "1-3", "1-4", "2", "2-3", "2-4", "3", "3-4", "4"}
    text = PLAN.replace("[[0.17, 0.5], [0.2, 0.51]]", str([list(w) for w in windows.values()]))
    run(tmp_path / "run", text=text)
    from extras.lab.store import Store

    with Store.read(tmp_path / "run") as store:
        frame = store.frame()
    assert set(frame[frame["role"] == "nag-time"]["guided"]) == set(windows)


def test_a_budget_that_is_too_small_and_an_unknown_model(tmp_path):
    with pytest.raises(LabError, match="--budget: 5 pictures are too few"):
        search.search(load(tmp_path), tmp_path / "run", Fake(), budget=5)
    with pytest.raises(LabError, match="'many' is not in the plan"):
        search.search(load(tmp_path), tmp_path / "run", Fake(), model="many")
