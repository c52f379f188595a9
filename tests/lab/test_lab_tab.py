"""The tab: a plan is run in a thread; errors, the live table and the plot are what there is."""

from __future__ import annotations

import gradio as gr
import pytest
from lab_fake import PLAN, Fake

from extras.lab import tab
from extras.lab.tab_plot import Dot, svg


def job(folder, text, engine=None):
    made = tab.Job(text, folder, engine or Fake()).start()
    made.thread.join(120)
    assert not made.thread.is_alive()
    return made


def test_a_run_ends_with_a_table_a_plot_and_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr(tab, "EVERY", 0.0)
    done = job(tmp_path / "run", PLAN + "metrics: [deleted, clean, ssim_background]\n")
    assert done.error == "" and "40 drawn" in done.summary and done.report.endswith("report.html")
    table, plot = tab.results(tmp_path / "run")
    assert list(table.columns) == tab.HEAD and len(table) == 5 and set(table["pictures"]) == {10}
    assert list(table["steps guided"]) == ["", "1-4", "1-4", "2-3", "2-3"]
    assert plot == "" or plot.startswith("<svg")


def test_a_bad_plan_is_told_with_its_line(tmp_path):
    told = job(tmp_path / "run", PLAN.replace("steps: 4", "steps: 0")).error
    assert told.startswith("line 4: models.few.steps: 0 is not possible") and str(tmp_path) not in told


def test_stopped_it_keeps_what_was_done(tmp_path):
    made = tab.Job(PLAN + "metrics: [ssim]\n", tmp_path / "run", Fake(pause=0.1))
    made._show = lambda progress: made.stopping.set() if progress.done >= 4 else None
    made.start().thread.join(120)
    assert "(stopped)" in made.summary
    assert 4 <= int(tab.results(tmp_path / "run")[0]["pictures"].sum()) < 40


def test_before_anything_is_drawn_nothing_is_shown(tmp_path):
    assert tab.results(tmp_path / "nowhere") == (gr.skip(), gr.skip())


@pytest.mark.parametrize(
    ("text", "name"), [(PLAN, "fake"), ("name: ../x", "unnamed"), ("", "unnamed"), ("name: ..", "unnamed")]
)
def test_the_folder_is_the_plans_name_and_never_another_place(text, name):
    assert tab._name(text) == name


def test_the_plot_has_a_line_a_family_and_escapes_names():
    drawn = svg([Dot("a<b", "x & y", 0.9, 0.5), Dot("a<b", "z", 0.95, 0.4), Dot("c", "c", 0.99, 1.0)], "kept", "gone")
    assert drawn.count("<polyline") == 2 and drawn.count("<title>") == 3
    assert "a<b" not in drawn and "a&lt;b" in drawn and "x &amp; y" in drawn
    assert svg([], "kept", "gone") == ""
