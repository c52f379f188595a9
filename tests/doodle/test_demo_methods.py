"""`nagtime.py demo --methods`: every method on the shipped models, each measured to act."""

import json

import numpy as np
import pytest
from PIL import Image

from extras.doodle import compare, demo, method_arms, method_demo, sheets
from extras.doodle.evaluate import STUDENT
from extras.doodle.pairs import PAIRS
from extras.doodle.scores import score
from extras.nag import Settings


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """All methods, one prompt, one seed, few steps of the base model; the folder and what was written."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "PAIRS", PAIRS[:1])
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
        cells = [sheet[sheets.TOP :, sheets.LABEL + i * wide :][:128, :128] for i in range(len(model["arms"]))]
        for name, cell in zip(list(model["arms"])[1:], cells[1:], strict=True):
            if model["arms"][name]["methods"]:
                assert np.abs(cell - cells[0]).max() > 8, (model["checkpoint"], name)


def test_some_methods_can_be_chosen(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "PAIRS", PAIRS[:1])
    ckpt = str(STUDENT)
    assert demo.main(["--methods", "pag, tpg", "--seeds", "1", "--out", str(tmp_path), "--ckpt", ckpt]) == 0
    text = capsys.readouterr().out
    assert "SoftPAG" in text and "TPG" in text and "three-way" not in text and "mean change" in text
    assert (tmp_path / "methods.png").exists()
    with pytest.raises(SystemExit):
        demo.main(["--methods", "magic", "--out", str(tmp_path)])
    assert "'magic' is not known, allowed: all, nag" in capsys.readouterr().err


def test_a_killed_run_goes_on_and_the_page_has_its_tables(tmp_path, monkeypatch):
    """Parts that are there are not drawn again; other seeds, arms or precision are other parts."""
    drawn = []
    for module in (compare, method_demo):
        monkeypatch.setattr(module, "PAIRS", PAIRS[:2])
    monkeypatch.setattr(compare, "load_models", lambda path, quick: path)

    def evaluated(models, arms, seeds, pairs, keep):
        drawn.append((models.stem, pairs[0].object, len(list(seeds))))
        if len(drawn) in (2, 3):
            raise KeyboardInterrupt
        pictures = {arm.name: np.full((len(seeds), 128, 128, 3), i, np.uint8) for i, arm in enumerate(arms)}
        untreated = pictures[arms[0].name]
        scores = {name: {pairs[0].object: score(of, untreated, pairs[0])} for name, of in pictures.items()}
        return scores, {(pairs[0].object, name): several[:keep] for name, several in pictures.items()}

    monkeypatch.setattr(compare, "evaluate", evaluated)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "METHODS.md").write_text("before\n<!-- measured: x -->\nold\n<!-- /measured -->\nafter\n")
    command = ["--methods", "all", "--seeds", "2", "--out", str(tmp_path), "--docs", str(docs)]
    for others in ([], ["--seeds", "1"]):
        with pytest.raises(KeyboardInterrupt):
            demo.main([*command, *others])
    assert demo.main(command) == 0
    assert drawn == [
        ("doodle-student", "glasses", 2), ("doodle-student", "hat", 2), ("doodle-student", "glasses", 1),
        ("doodle-student", "hat", 2), ("doodle-base", "glasses", 2), ("doodle-base", "hat", 2),
    ]  # fmt: skip
    text = (docs / "METHODS.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| NAG | 4 | 0 | – |" in text and "| TPG | 4 | 0 | 0." in text and not (tmp_path / "methods-parts").exists()
    assert Image.open(docs / "methods.png").size[0] > 400
