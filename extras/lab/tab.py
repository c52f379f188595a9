"""The tab "Lab", of the Studio and of any WebUI: choose a plan, run it, watch the bar, the table and the plot, take the
report. Alike in gradio 3.41, 4 and 6: our script (javascript/nag_lab.js) asks for a look while something runs."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from extras.nag.ui.controls import HIDDEN, QUIET, passing
from extras.nag.ui.markup import Value, note

from .runs_apart import RunsApart
from .tab_words import bar

PLANS = Path(__file__).resolve().parents[2] / "plans"


class Runs(Protocol):
    """Where a plan is run: runs_here.RunsHere, runs_apart.RunsApart."""

    def start(self, text: str, name: str) -> str: ...

    def stop(self) -> None: ...

    def look(self) -> dict[str, Any]: ...


def lab_tab() -> list[tuple[Any, str, str]]:
    """For the host's list of tabs."""
    from modules import shared

    studio = getattr(shared, "studio", None)
    if studio is not None:
        from .runs_here import RunsHere

        runs: Runs = RunsHere(studio)
    else:
        runs = RunsApart(own_url, auth=own_auth)
    with gr.Blocks(analytics_enabled=False) as block:
        build(runs)
    return [(block, "Lab", "nag_lab")]


def own_url() -> str:
    """Of the WebUI we are in; a sentence where it has no API."""
    from modules import shared

    if not getattr(shared.cmd_opts, "api", False):
        return "The lab draws over the WebUI's API: start the WebUI with --api."
    url = str(getattr(shared.demo, "local_url", None) or "")
    return url.replace("://0.0.0.0", "://127.0.0.1").rstrip("/") or "The WebUI's address is not known yet."


def own_auth() -> str:
    """user:password of our WebUI's API, or nothing."""
    from modules import shared

    return str(getattr(shared.cmd_opts, "api_auth", None) or "").split(",")[0]


def build(runs: Runs) -> None:
    """The controls, inside a gr.Blocks."""
    names = sorted((path.name for path in PLANS.glob("*.yaml")), key=len)
    first = names[0] if names else None
    with gr.Row(elem_classes="nag-lab"):
        with gr.Column(scale=4, min_width=340):
            choice = passing(gr.Dropdown(names, value=first, label="Plan", elem_id="nag_lab_plan"))
            text = gr.Textbox(text_of(first), lines=24, max_lines=24, label="YAML", elem_id="nag_lab_yaml")
            passing(text)
            with gr.Row():
                go = gr.Button("Run", variant="primary", elem_id="nag_lab_run")
                halt = gr.Button("Stop", elem_id="nag_lab_stop")
        with gr.Column(scale=6, min_width=380):
            said = gr.HTML("", elem_id="nag_lab_message")
            progress = gr.HTML("", elem_id="nag_lab_progress")
            table = gr.HTML("", elem_id="nag_lab_table")
            plot = gr.HTML("", elem_id="nag_lab_plot")
            report = gr.File(label="Report", visible=False, elem_id="nag_lab_report")
            shown = gr.State("")
            ask = gr.Button("Look", elem_id="nag_lab_look", elem_classes=HIDDEN)
    seen = [said, progress, table, plot, report, shown]

    def look(before: str) -> list[Any]:
        return _outputs(runs.look(), before)

    def run(given: str, before: str) -> list[Any]:
        trouble = runs.start(given, name_of(given))
        if trouble:
            return [note(Value(trouble), kind="error"), *([gr.update()] * 4), before]
        return look(before)

    def stop(before: str) -> list[Any]:
        runs.stop()
        return look(before)

    choice.change(fn=text_of, inputs=[choice], outputs=[text], **QUIET)
    go.click(fn=run, inputs=[text, shown], outputs=seen, **QUIET)
    halt.click(fn=stop, inputs=[shown], outputs=seen, **QUIET)
    ask.click(fn=look, inputs=[shown], outputs=seen, **QUIET)


def _outputs(seen: dict[str, Any], before: str) -> list[Any]:
    """A look as the components' values. ``before``: the report that is offered already."""
    said = note(Value(seen["said"]), kind=seen["kind"]) if seen["said"] else ""
    offered = f"{seen['report']} {Path(seen['report']).stat().st_mtime_ns}" if seen["report"] else ""
    if offered == before:
        report = gr.update()
    else:
        report = gr.update(value=_copy(seen["report"]), visible=True) if offered else gr.update(visible=False)
    return [said, bar(seen), seen["table"], seen["plot"], report, offered]


def _copy(report: str) -> str:
    """Gradio gives out files of the temporary folder in any host, and others only in some."""
    return str(shutil.copy(report, tempfile.mkdtemp(prefix="nag-lab-")))


def text_of(name: str | None) -> str:
    """The YAML of a plan that comes along."""
    path = PLANS / Path(name or "-").name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def name_of(text: str) -> str:
    """The plan's name as a folder; what is wrong with it is told when the plan is read."""
    found = re.search(r"^name:\s*([\w.-]{1,60})\s*$", text, re.MULTILINE)
    return found[1].lstrip(".") or "unnamed" if found else "unnamed"
