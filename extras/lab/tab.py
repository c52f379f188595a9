"""The tab "Lab" of the Studio's page: choose a plan, run it, watch the bar, the table and the plot, take the report."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from .errors import LabError
from .progress import Progress, clock
from .store import Store
from .tab_plot import Dot, svg

PLANS = Path(__file__).resolve().parents[2] / "plans"
EVERY = 4.0
"""Seconds between two measurements of what is drawn so far."""

HEAD = ["model", "arm", "steps guided", "pictures", "deleted", "clean", "SSIM outside", "seconds"]
PRIVATE: dict[str, Any] = {"api_visibility": "private"}


@dataclass
class Job:
    """A run in a thread. ``error``, ``summary``: for the page, when it is over."""

    text: str
    folder: Path
    engine: Any
    progress: Progress | None = None
    error: str = ""
    summary: str = ""
    report: str | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    measured: float = 0.0

    def start(self) -> Job:
        self.thread = threading.Thread(target=self._work, name="lab", daemon=True)
        self.thread.start()
        return self

    def _work(self) -> None:
        from . import plan, runner

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "plan.yaml"
            path.write_text(self.text, encoding="utf-8")
            wanted = plan.load(path)
            outcome = runner.run(
                wanted, self.text, self.folder, self.engine, show=self._show, say=lambda text: None,
                stop=self.stopping.is_set, between=lambda store: self._measure(store, wanted),
            )  # fmt: skip
            self.summary = outcome.summary()
            self.error = "; ".join(outcome.errors[:3])
            from .report import write_report

            self.report = str(write_report(self.folder))
        except LabError as error:
            self.error = str(error).replace(f"{self.folder / 'plan.yaml'}:", "line ")
        except ModuleNotFoundError as error:
            self.error = f"{error.name} is missing: `python nagtime.py lab --help` installs the lab's packages, once"
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def _show(self, progress: Progress) -> None:
        self.progress = progress

    def _measure(self, store: Store, wanted: Any) -> None:
        """Measure what is drawn so far, now and then: the table and the plot are alive."""
        from .measure import measure

        if time.monotonic() - self.measured > EVERY:
            measure(store, wanted, sets=False)
            self.measured = time.monotonic()


def build(studio: Any) -> None:
    """The controls, inside a gr.Tab. ``studio``: the page's engine, which draws."""
    names = sorted((path.name for path in PLANS.glob("*.yaml")), key=len)
    running: list[Job] = []
    with gr.Row(elem_classes="studio-tab"):
        with gr.Column(scale=4, min_width=340):
            choice = gr.Dropdown(names, value=names[0] if names else None, label="Plan", elem_id="lab_plan")
            text = gr.Code(
                _text(names[0]) if names else "", language="yaml", label="YAML", lines=24, elem_id="lab_yaml"
            )
            with gr.Row():
                go = gr.Button("Run", variant="primary", elem_id="lab_run")
                halt = gr.Button("Stop", elem_id="lab_stop")
        with gr.Column(scale=6, min_width=380):
            said = gr.HTML("", elem_id="lab_message", padding=False)
            bar = gr.HTML("", elem_id="lab_progress", elem_classes="studio-progress", padding=False)
            table = gr.Dataframe(headers=HEAD, label="Arms", interactive=False, elem_id="lab_table")
            plot = gr.HTML("", elem_id="lab_plot", padding=False)
            report = gr.DownloadButton("Report", visible=False, elem_id="lab_report")
    from extras.studio.page.paste import message

    choice.input(_text, [choice], [text], show_progress="hidden", **PRIVATE)

    def run(plan_text: str) -> Iterator[tuple[Any, ...]]:
        keep = gr.skip()
        if running and running[-1].thread is not None and running[-1].thread.is_alive():
            yield message("A plan is running: stop it first.", "error"), keep, keep, keep, keep
            return
        from .engines.inprocess import InProcess

        folder = Path(studio.outputs_dir) / "lab" / _name(plan_text)
        job = Job(plan_text, folder, InProcess(studio, studio.models_dir)).start()
        running[:] = [job]
        yield "", _bar(None), keep, keep, gr.update(visible=False)
        shown = -EVERY
        assert job.thread is not None
        while job.thread.is_alive():
            job.thread.join(0.5)
            live: tuple[Any, Any] = (keep, keep)
            if time.monotonic() - shown > EVERY:
                live, shown = results(folder), time.monotonic()
            yield "", _bar(job.progress), *live, keep
        told = message(job.error, "error") if job.error else message(job.summary, "note")
        yield told, "", *results(folder), gr.update(value=job.report, visible=job.report is not None)

    go.click(run, [text], [said, bar, table, plot, report], concurrency_limit=None, show_progress="hidden", **PRIVATE)
    halt.click(lambda: [job.stopping.set() for job in running] and None, queue=False, **PRIVATE)


def results(folder: Path) -> tuple[Any, Any]:
    """(table, plot) of what there is; two skips where there is nothing yet."""
    try:
        with Store.read(folder) as store:
            frame = store.frame()
    except LabError:
        return gr.skip(), gr.skip()
    if frame.empty:
        return gr.skip(), gr.skip()
    for name in ("deleted", "clean", "ssim_background"):
        if name not in frame:
            frame[name] = float("nan")
    arms = frame.groupby(["model", "arm", "family", "guided"], sort=False)
    sums = arms.agg(
        pictures=("cell", "size"), deleted=("deleted", "mean"), clean=("clean", "mean"),
        ssim=("ssim_background", "mean"), seconds=("seconds", "median"),
    ).reset_index()  # fmt: skip
    rows = sums[["model", "arm", "guided", "pictures", "deleted", "clean", "ssim", "seconds"]].round(3)
    rows.columns = HEAD
    several = sums["model"].nunique() > 1
    dots = [
        Dot(f"{r['model']}: {r['family']}" if several else r["family"], r["arm"], r["ssim"], r["deleted"])
        for r in sums.dropna(subset=["deleted", "ssim"]).to_dict("records")
    ]
    return rows, svg(dots, "SSIM outside the target", "deleted")


def _text(name: str) -> str:
    """The YAML of a plan that comes along."""
    path = PLANS / Path(name).name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _name(text: str) -> str:
    """The plan's name as a folder; what is wrong with it is told when the plan is read."""
    import re

    found = re.search(r"^name:\s*([\w.-]{1,60})\s*$", text, re.MULTILINE)
    return found[1].lstrip(".") or "unnamed" if found else "unnamed"


def _bar(progress: Progress | None) -> str:
    if progress is None:
        share, words = 0.0, "starting"
    else:
        share = (progress.done + progress.failed) / max(progress.total, 1)
        words = f"{progress.stage} {progress.done} of {progress.total}"
        if progress.rate and progress.left is not None:
            words += f", {progress.rate:.0f} a minute, {clock(progress.left)} left"
    percent = f"{100 * share:.0f}"
    return (
        f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}">'
        f'<div style="width:{percent}%"></div><span>{html.escape(words)}</span></div>'
    )
