"""The Studio as an engine: guided as the plan says, the same bytes whatever is drawn beside, the command around it."""

from __future__ import annotations

import numpy as np
import pytest
from lab_fake import ROOT
from PIL import Image

from extras.lab import command
from extras.lab.engines.inprocess import InProcess, find_checkpoint
from extras.lab.errors import LabError
from extras.lab.store import Store

PLAN = """
name: small
models:
  student:
    {checkpoint: doodle-student, steps: 4, sampler: Euler, scheduler: SGM Uniform, width: 64, height: 64, batch: 2}
  base: {checkpoint: doodle-base, steps: 2, cfg: 3, sampler: Euler, scheduler: SGM Uniform, width: 64, height: 64}
pairs:
  - {id: nerd, prompt: a nerd on a pink background, target: glasses, subject: nerd}
seeds: {first: 8, count: 2}
arms:
  - {name: NAG, role: nag, models: [student], nag: {scale: 8, alpha: 0.65}}
  - {name: CFG, role: cfg, models: [base], cfg_negative: target}
  - {name: H, role: handoff, models: [student], cfg_negative: target, handoff: {model: base, steps: 1, cfg: 3}}
metrics: [present, ssim]
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The plan run by the command; its folder."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "small.yaml").write_text(PLAN, encoding="utf-8")
    assert command.main(["run", str(folder / "small.yaml"), "--out", str(folder / "run"), "--no-report"]) == 0
    return folder / "run"


def test_each_arm_is_drawn_and_measured_as_the_plan_says(done):
    with Store.read(done) as store:
        rows = {(r["model"], r["arm"], r["seed"]): r for r in store.frame().to_dict("records")}
        pixels = {key: np.asarray(store.picture(r["cell"])).astype(int) for key, r in rows.items()}
        assert len(rows) == 10 and store.meta("engine") == "inprocess"
    plain, nag = rows["student", "untreated", 8], rows["student", "NAG", 8]
    assert nag["baseline"] == plain["cell"] and nag["guided"] == "1-4" and nag["ssim"] < 1 and nag["seconds"] > 0
    assert abs(pixels["student", "NAG", 8] - pixels["student", "untreated", 8]).max() > 16
    assert abs(pixels["student", "H", 8] - pixels["student", "untreated", 8]).max() > 16
    assert abs(pixels["base", "CFG", 9] - pixels["base", "untreated", 9]).max() > 16
    with Image.open(nag["image"]) as image:
        assert "NAG guided steps: 1-4 of 4" in image.info["parameters"]


def test_a_picture_is_the_same_bytes_alone_and_beside_others(done, tmp_path):
    (tmp_path / "small.yaml").write_text(PLAN.replace("first: 8, count: 2", "first: 9, count: 1"), encoding="utf-8")
    assert command.main(["run", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "run"), "--no-report"]) == 0
    mine = {p.name: p.read_bytes() for p in (tmp_path / "run" / "images").iterdir()}
    its = {p.name: p.read_bytes() for p in (done / "images").iterdir()}
    assert len(mine) == 5 and mine.items() <= its.items()


def test_again_it_loads_no_model(done, monkeypatch, capsys):
    monkeypatch.setattr(InProcess, "_load", lambda self: pytest.fail("loaded the Studio"))
    assert command.main(["run", str(done.parent / "small.yaml"), "--out", str(done), "--no-report"]) == 0
    assert "0 drawn, 10 kept" in capsys.readouterr().out


def test_what_the_command_cannot_do_is_a_line_and_a_status(tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text(PLAN.replace("steps: 4", "steps: 0"), encoding="utf-8")
    assert command.main(["run", str(bad)]) == 2
    assert "bad.yaml:5: models.student.steps: 0 is not possible" in capsys.readouterr().err
    assert command.main(["report", str(tmp_path)]) == 1
    assert "there are no results here" in capsys.readouterr().err
    bad.write_text(PLAN, encoding="utf-8")
    assert command.main(["run", str(bad), "--url", "http://127.0.0.1:9"]) == 1
    assert "--url is for --engine webui" in capsys.readouterr().err
    bad.write_text(PLAN.replace("doodle-student", "doodle-sudent"), encoding="utf-8")
    assert command.main(["check", str(bad)]) == 1
    assert "'doodle-sudent' is no file" in capsys.readouterr().err
    assert command.main(["run", str(bad), "--out", str(tmp_path / "x")]) == 1
    assert "'doodle-sudent' is no file" in capsys.readouterr().err


def test_a_check_says_what_would_be_drawn_and_draws_nothing(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(PLAN, encoding="utf-8")
    assert command.main(["check", str(tmp_path / "small.yaml")]) == 0
    told = capsys.readouterr().out
    assert "small: prompts 1, targets 1, seeds 2, pictures 10 for 10 places" in told
    assert "4 steps at 999 749 500 250" in told and "NAG: NAG, steps 1-4 of 4, scale 8, tau 2.5, alpha 0.65" in told
    assert "H: hand-off, the first 1 on the base at CFG 3, the host's negative: target, CFG 1" in told
    assert "checkpoint doodle-base: there" in told and "measure.clip: not named, its metrics will be absent" in told
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_checkpoint_by_path_or_name():
    path = ROOT / "models" / "doodle-base.safetensors"
    assert find_checkpoint("doodle-base") == find_checkpoint(path.name) == find_checkpoint(str(path)) == path
    with pytest.raises(LabError, match=r"models has: doodle-base, .*doodle-student"):
        find_checkpoint("nothing")
