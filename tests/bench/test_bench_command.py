"""`nagtime.py bench` on the tiny models: table, JSON, picture and page say the same."""

import json
import statistics
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from extras.bench import curves, report
from extras.bench.arms import ALWAYS
from extras.bench.measure import SELDOM
from extras.studio.commands import COMMANDS, bench

POINTS = {"TOKENS": (77,), "BATCHES": (2,), "SHARES": (0.5, 1.0)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(result, folder) of one run; the threads are put back."""
    folder = tmp_path_factory.mktemp("bench")
    threads = torch.get_num_threads()
    arguments = ["--models", "tiny-sd15", "tiny-flux", "--rounds", "2", "--threads", "1", "--device", "cpu"]
    small = ["--curves", "tiny-sd15", "--curve-rounds", "1", "--curve-resolution", "64", "--resolution", "64"]
    with pytest.MonkeyPatch.context() as patch:
        for name, values in POINTS.items():
            patch.setattr(curves, name, values)
        try:
            assert bench.main([*arguments, *small, "--no-memory", "--out", str(folder)]) == 0
        finally:
            torch.set_num_threads(threads)
    return json.loads((folder / "bench.json").read_text("utf-8")), folder


def seldom(model):
    return [arm for name, arm in model["arms"].items() if name in SELDOM]


def test_it_is_a_command():
    assert COMMANDS["bench"].module == bench.__name__


def test_the_record_is_whole(run):
    result, _ = run
    assert [m["model"] for m in result["models"]] == ["tiny-sd15", "tiny-flux"]
    assert ("on_gpu" in result["models"][0]) and "on_gpu" not in result["models"][1]
    for model in result["models"]:
        assert model["machine"]["threads"] == 1 and model["machine"]["torch"] == torch.__version__
        assert model["rounds"] == 2 and len(model["load"]) == 2
        for arm in model["arms"].values():
            assert len(arm["ratios"]) == arm["ratio"]["n"] == (1 if arm in seldom(model) else 2)
            assert statistics.median(arm["ratios"]) == pytest.approx(arm["ratio"]["median"], abs=1e-4)
        assert model["arms"]["without"]["ratio"]["median"] == 1
        assert all(t["met"] in (t["found"] <= t["wanted"], None) for t in model["targets"])
        metered = {name for name, arm in model["arms"].items() if "by_layers" in arm}
        assert ("NAG" in metered) == (model["kind"] == "unet") and not metered & {"TPG", "CFG"}
    points = {name: len(points) for name, points in result["curves"].items()}
    assert points == {"tokens": 1, "batch": 1, "resolution": 3, "layers": 4, "share of steps": 2}
    assert any("GPU" in text for text in result["skipped"])


def test_table_and_record_agree(run):
    result, _ = run
    text = report.terminal(result)
    for model in result["models"]:
        rows = report.table(model)
        assert [row[0] for row in rows[1:]] == list(model["arms"])
        for row in rows[1:]:
            arm = model["arms"][row[0]]
            assert row[1] == f"{arm['ratio']['median']:.4f}"
            assert (row[6] == "none") == arm["identical"]
        assert report.plain(rows) in text
        assert text.count("missed") == sum(t["met"] is False for m in result["models"] for t in m["targets"])


def test_the_picture_has_a_bar_per_step(run):
    result, folder = run
    root = ElementTree.parse(folder / "bench.svg").getroot()
    bars = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("class")]
    assert len(bars) == sum(len(m["arms"]) for m in result["models"])
    points = [e for e in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(points) == sum(map(len, result["curves"].values()))
    words = "".join(root.itertext())
    assert all(name in words for name in ("duplicate", "NAG-PAG", "tokens", "share of steps"))


def test_the_page_has_the_numbers_and_its_command(run, tmp_path):
    result, _ = run
    bench.write_docs(result, tmp_path)
    text = (tmp_path / "PERFORMANCE.md").read_text("utf-8")
    assert "--out" not in text and "--rounds 2 --threads 1" in text, "where the files went is nobody's business"
    assert result["models"][0]["command"] in text and (tmp_path / "performance" / "bench.svg").is_file()
    kept = json.loads((tmp_path / "performance" / "bench.json").read_text("utf-8"))
    for model in kept["models"]:
        assert report.markdown(report.table(model)) in text and report.title(model) in text
        assert f"{model['floor']['share']:.2%}" in text


def test_results_are_added_model_by_model(run):
    result, _ = run
    sd15, flux = ({**result, "models": [model]} for model in result["models"])
    both = bench.joined(flux | {"skipped": ["tiny-sd15 in torch.float32: no"]}, sd15 | {"curves": {}})
    assert [m["model"] for m in both["models"]] == ["tiny-sd15", "tiny-flux"]
    assert both["curves"] == result["curves"] and not any(t.startswith("tiny-sd15") for t in both["skipped"])
    newer = {**result["models"][0], "rounds": 99}
    assert bench.joined(result, {**result, "models": [newer]})["models"][0]["rounds"] == 99
    elsewhere = {**newer, "machine": {**newer["machine"], "processor": "another"}}
    both = bench.joined(result, {**result, "models": [elsewhere]})
    assert [m["rounds"] for m in both["models"] if m["model"] == "tiny-sd15"] in ([99, 2], [2, 99]), (
        "each machine's own"
    )
    text = report.page(both, "x.svg")
    assert text.count("Machine: ") == len(both["models"]) + 1 and "Machine: another, " in text
    other = {**newer, "dtype": "bfloat16"}
    both = bench.joined(result | {"skipped": ["tiny-sd15 in torch.float16: no"]}, {**result, "models": [other]})
    assert [(m["model"], m["dtype"]) for m in both["models"]] == [
        ("tiny-sd15", "bfloat16"), ("tiny-sd15", "float32"), ("tiny-flux", "float32")
    ]  # fmt: skip
    assert "tiny-sd15 in torch.float16: no" in both["skipped"]


def test_some_steps_alone(tmp_path):
    wanted = ["--models", "tiny-sd15", "--rounds", "1", "--device", "cpu", "--curves", "none", "--resolution", "64"]
    assert bench.main([*wanted, "--no-memory", "--out", str(tmp_path), "--steps", "TPG"]) == 0
    (model,) = json.loads((tmp_path / "bench.json").read_text("utf-8"))["models"]
    assert set(model["arms"]) == {*ALWAYS, "TPG"}
    assert model["command"].endswith("--steps TPG") and report.markdown(report.verdicts(model)).count("duplicate") == 1


def test_bad_values_are_refused_by_name(capsys):
    for arguments in (
        ["--resolution", "100"],
        ["--rounds", "0"],
        ["--models", "sd9"],
        ["--dtype", "int8"],
        ["--steps", "NAGs"],
    ):
        with pytest.raises(SystemExit):
            bench.parse(arguments)
        assert arguments[0] in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_said(capsys):
    assert bench.main(["--device", "cuda"]) == 1
    assert "no CUDA device" in capsys.readouterr().err


def test_what_does_not_fit_is_left_out_and_said(monkeypatch, tmp_path, capsys):
    from extras.bench import shapes

    monkeypatch.setattr(shapes, "free_bytes", lambda device: 1 << 20)
    assert bench.main(["--models", "tiny-sd15", "--device", "cpu", "--curves", "none", "--out", str(tmp_path)]) == 1
    assert "not measured: tiny-sd15" in capsys.readouterr().out
