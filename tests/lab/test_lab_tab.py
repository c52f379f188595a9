"""The tab: a plan is run in a thread of the Studio, or by a process beside a WebUI; what is seen of it meanwhile."""

from __future__ import annotations

import ast
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from lab_fake import PLAN, ROOT, Fake

from extras.lab import live, tab, tab_words
from extras.lab.runs_apart import RunsApart
from extras.lab.runs_here import RunsHere
from extras.lab.tab_plot import Dot, svg

LAB = ROOT / "extras" / "lab"
ENTER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from extras.studio.commands import lab
sys.exit(lab.main(sys.argv[2:]))
"""
COMMAND = [sys.executable, "-c", ENTER]


def here(tmp_path, text, engine=None):
    """A run in a thread, to its end; what is to be seen then."""
    runs = RunsHere(SimpleNamespace(outputs_dir=tmp_path), engine or Fake())
    assert runs.start(text, "run") == ""
    runs.thread.join(120)
    assert not runs.thread.is_alive()
    return runs.look()


def ended(runs):
    """What is to be seen of a process's run when it is over."""
    end = time.monotonic() + 120
    while (seen := runs.look())["running"]:
        assert time.monotonic() < end, seen
        time.sleep(0.1)
    return seen


def stands_in(tmp_path, code):
    """Runs by a script that gets the arguments of `nagtime.py`."""
    (tmp_path / "stand-in.py").write_text(code, encoding="utf-8")
    return RunsApart(lambda: "http://127.0.0.1:9", [sys.executable, str(tmp_path / "stand-in.py")], tmp_path)


def test_a_run_ends_with_a_table_a_plot_and_a_report(tmp_path):
    seen = here(tmp_path, PLAN + "metrics: [deleted, clean, ssim_background]\n")
    assert not seen["running"] and "40 drawn" in seen["said"] and seen["kind"] == "note"
    assert seen["report"] == str(tmp_path / "lab" / "run" / "report.html")
    assert seen["table"].count("<tr>") == 6 and "<td>2-3</td><td>10</td>" in seen["table"]
    assert seen["plot"] == "" or seen["plot"].startswith("<svg")


def test_a_bad_plan_is_told_with_its_line(tmp_path):
    seen = here(tmp_path, PLAN.replace("steps: 4", "steps: 0"))
    assert seen["said"].startswith("line 4: models.few.steps: 0 is not possible") and seen["kind"] == "error"
    assert str(tmp_path) not in seen["said"]


def test_stopped_it_keeps_what_was_done(tmp_path):
    runs = RunsHere(SimpleNamespace(outputs_dir=tmp_path), Fake(pause=0.1))
    runs.start(PLAN + "metrics: [ssim]\n", "run")
    while len(list((tmp_path / "lab" / "run").glob("images/*.png"))) < 4:
        time.sleep(0.02)
    assert runs.start(PLAN, "run") == "A plan is running: stop it first."
    assert runs.look()["running"] and " of 40" in runs.look()["words"]
    runs.stop()
    runs.thread.join(120)
    assert "(stopped)" in runs.look()["said"]
    assert 4 <= len(list((tmp_path / "lab" / "run").glob("images/*.png"))) < 40


def test_a_process_draws_on_the_webui_and_the_tab_watches(tmp_path, stub):
    host = stub()
    runs = RunsApart(lambda: host.url, COMMAND, tmp_path)
    assert runs.look() == tab_words.NOTHING
    assert runs.start(PLAN + "metrics: [ssim]\n", "run") == ""
    assert runs.look()["running"]
    seen = ended(runs)
    assert "40 drawn" in seen["said"] and seen["kind"] == "note", seen
    assert seen["report"] == str(tmp_path / "lab" / "run" / "report.html")
    assert seen["table"].count("<tr>") == 6 and host.asked > 0
    assert host.chosen == ["some-model", "mine.safetensors"]


def test_what_the_set_up_says_is_seen_and_why_it_ended(tmp_path):
    runs = stands_in(
        tmp_path, "import time\nprint('[1/4] torch', flush=True)\ntime.sleep(1)\nprint('no network')\nexit(1)"
    )
    runs.start(PLAN, "run")
    words = set()
    while (seen := runs.look())["running"]:
        words.add(seen["words"])
        time.sleep(0.05)
    assert "[1/4] torch" in words
    assert (seen["said"], seen["kind"]) == ("no network", "error")


def test_a_process_gets_the_password_and_none_of_the_webuis_own_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/of/the/webui")
    code = "import os\nprint(os.environ.get('NAGTIME_API_AUTH'), os.environ.get('PYTHONPATH'))"
    runs = stands_in(tmp_path, code)
    runs._auth = lambda: "me:secret"
    runs.start(PLAN, "run")
    assert ended(runs)["said"] == "me:secret None"


def test_a_process_is_stopped(tmp_path):
    runs = stands_in(tmp_path, "import time\nprint('on', flush=True)\ntime.sleep(60)")
    runs.start(PLAN, "run")
    assert runs.start(PLAN, "run") == "A plan is running: stop it first."
    runs.stop()
    seen = ended(runs)
    assert seen["kind"] == "note" and seen["said"].startswith("Stopped. What is drawn is kept")


def test_a_webui_without_an_api_is_told(tmp_path, monkeypatch):
    shared = SimpleNamespace(
        cmd_opts=SimpleNamespace(api=False), demo=SimpleNamespace(local_url="http://0.0.0.0:7860/")
    )
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(shared=shared))
    assert RunsApart(tab.own_url, COMMAND, tmp_path).start(PLAN, "run").endswith("start the WebUI with --api.")
    assert list(tmp_path.iterdir()) == []
    shared.cmd_opts.api = True
    assert tab.own_url() == "http://127.0.0.1:7860" and tab.own_auth() == ""
    shared.cmd_opts.api_auth = "me:secret,you:other"
    assert tab.own_auth() == "me:secret"


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "lab").write_text("a file")
    assert "lab" in RunsApart(lambda: "http://127.0.0.1:9", COMMAND, tmp_path).start(PLAN, "run")


def test_the_report_is_offered_once_and_from_a_place_gradio_gives_out(tmp_path):
    (tmp_path / "report.html").write_text("<p>it</p>")
    seen = {**tab_words.NOTHING, "said": "done <b>", "report": str(tmp_path / "report.html")}
    said, bar, _, _, report, offered = tab._outputs(seen, "")
    assert "done &lt;b&gt;" in said and bar == "" and report["visible"]
    assert Path(report["value"]).read_text() == "<p>it</p>" and not report["value"].startswith(str(tmp_path))
    assert "value" not in tab._outputs(seen, offered)[4] and tab._outputs(seen, offered)[5] == offered
    running = tab._outputs({**tab_words.NOTHING, "running": True, "share": 0.5, "words": "drawing <"}, offered)
    assert 'data-nag-lab-running="1"' in running[1] and "width:50%" in running[1] and "drawing &lt;" in running[1]
    assert running[4]["visible"] is False


def test_the_page_has_what_the_script_presses():
    with gr.Blocks() as block:
        tab.build(RunsApart(lambda: ""))
    ids = {getattr(each, "elem_id", None) for each in block.blocks.values()}
    script = (ROOT / "javascript" / "nag_lab.js").read_text(encoding="utf-8")
    assert {"nag_lab_look", "nag_lab_progress", "nag_lab_plan"} <= ids
    assert all(f'"{name}"' in script for name in ("nag_lab_look", "nag_lab_progress", "nag_lab_plan"))
    assert "data-nag-lab-running" in script
    assert len(list((ROOT / "plans").glob("*.yaml"))) == len(
        next(each for each in block.blocks.values() if getattr(each, "elem_id", None) == "nag_lab_plan").choices
    )


@pytest.mark.parametrize("name", ["tab.py", "tab_words.py", "runs_apart.py", "runs_here.py", "__init__.py"])
def test_what_a_webui_loads_needs_none_of_the_labs_packages(name):
    allowed = set(sys.stdlib_module_names) | {"gradio", "extras", "runs_apart", "tab_words", "__future__"}
    for node in ast.parse((LAB / name).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert node.module.partition(".")[0] in allowed
            assert not node.module.startswith("extras.") or node.module.startswith("extras.nag")


def test_before_anything_is_drawn_nothing_is_shown(tmp_path):
    seen = live.View(tmp_path / "nowhere").look()
    assert seen == {**tab_words.NOTHING, "running": True, "words": "starting"}


@pytest.mark.parametrize(
    ("text", "name"), [(PLAN, "fake"), ("name: ../x", "unnamed"), ("", "unnamed"), ("name: ..", "unnamed")]
)
def test_the_folder_is_the_plans_name_and_never_another_place(text, name):
    assert tab.name_of(text) == name


def test_the_plot_has_a_line_a_family_and_escapes_names():
    drawn = svg([Dot("a<b", "x & y", 0.9, 0.5), Dot("a<b", "z", 0.95, 0.4), Dot("c", "c", 0.99, 1.0)], "kept", "gone")
    assert drawn.count("<polyline") == 2 and drawn.count("<title>") == 3
    assert "a<b" not in drawn and "a&lt;b" in drawn and "x &amp; y" in drawn
    assert svg([], "kept", "gone") == ""
