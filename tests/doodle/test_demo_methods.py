"""`nagtime.py demo --methods`: every method on the shipped models, each measured to act."""

import json

import numpy as np
import pytest
from PIL import Image

from extras.doodle import demo, method_arms
from extras.doodle.evaluate import PAIRS
from extras.nag import Settings


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """All methods, one prompt, one seed, few steps of the base model; the folder and what was written."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "PAIRS", PAIRS[:1])
        patch.setattr(method_arms, "BASE_STEPS", 2)
        assert demo.main(["--methods", "all", "--seeds", "1", "--out", str(folder), "--json"]) == 0
    return folder, json.loads((folder / "methods.json").read_text("utf-8"))


def test_every_method_acts_on_both_models(result):
    for model in result[1]["models"]:
        acted = set()
        for name, row in model["arms"].items():
            for method, report in row["methods"].items():
                assert report["error"] is None and not report["warnings"], (name, method, report)
                assert report["calls"] > 0 and report["mean_change"] > 1e-3, (name, method, report)
                acted.add(method)
        assert acted == {"NAG", "NAG-PAG", "TPG", "PAG", "three-way"}, model["checkpoint"]


def test_the_methods_of_an_arm_are_those_its_settings_switch_on(result):
    for model in result[1]["models"]:
        for name, row in model["arms"].items():
            given = model["settings"][name]["nag"]
            settings = Settings(nag=False) if given is None else Settings.parse(given)
            on = {
                "NAG": settings.nag,
                "NAG-PAG": settings.nag_pag_scale > 0,
                "TPG": settings.tpg_scale > 0,
                "PAG": settings.pag_scale > 0,
                "three-way": settings.three_way_scale > 1,
            }
            assert set(row["methods"]) == {method for method, yes in on.items() if yes}, name


def test_the_pictures_are_there_and_differ(result):
    for model in result[1]["models"]:
        sheet = np.asarray(Image.open(result[0] / model["picture"]).convert("RGB")).astype(int)
        wide = 128 + 14
        cells = [sheet[demo.TOP :, demo.LABEL + i * wide :][:128, :128] for i in range(len(model["arms"]))]
        for name, cell in zip(list(model["arms"])[1:], cells[1:], strict=True):
            if model["arms"][name]["methods"]:
                assert np.abs(cell - cells[0]).max() > 8, (model["checkpoint"], name)


def test_some_methods_can_be_chosen(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "PAIRS", PAIRS[:1])
    ckpt = str(demo.STUDENT)
    assert demo.main(["--methods", "pag, tpg", "--seeds", "1", "--out", str(tmp_path), "--ckpt", ckpt]) == 0
    text = capsys.readouterr().out
    assert "SoftPAG" in text and "TPG" in text and "three-way" not in text and "mean change" in text
    assert (tmp_path / "methods.png").exists()
    with pytest.raises(SystemExit):
        demo.main(["--methods", "magic", "--out", str(tmp_path)])
    assert "'magic' is not known, allowed: all, nag" in capsys.readouterr().err
