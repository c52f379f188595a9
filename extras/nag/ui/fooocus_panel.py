"""The controls on Fooocus's page (gradio 3.41.2): presets, the options, and what the last picture's guidance did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from ..fields import FIELDS
from ..hosts.fooocus.task import CONTROLS, last_has_no_report_yet, last_is_off, last_report
from .controls import control
from .message import NOTHING_YET, error_html, off_html, report_html

STRENGTHS: dict[str, dict[str, float]] = {
    "Light": {"scale": 2.0, "tau": 2.5, "alpha": 0.35},
    "Moderate": {"scale": 3.0, "tau": 2.5, "alpha": 0.5},
    "Strong": {"scale": 5.0, "tau": 3.0, "alpha": 0.6},
}
"""Moderate: arXiv 2505.21179, SDXL family. The other two: ours, on either side of it."""
_ELEM = "nag_time_fooocus"
# Fooocus loads no style.css of ours.
_STYLE = """<style>.nag-time-bars rect { fill: var(--primary-500, #f97316); }
.nag-time-error * { color: #b91c1c !important; font-weight: 600; }
.dark .nag-time-error * { color: #f87171 !important; }
.nag-time-warning * { color: #b45309 !important; } .dark .nag-time-warning * { color: #fbbf24 !important; }</style>"""
_DRAWING = '<p class="nag-time-none">The report comes with the finished picture; one that is stopped has none.</p>'
_STRENGTH = ("scale", "tau", "alpha")


def build(progress: Any) -> list[Any]:
    """Make the tab's content; returns the controls in the order of CONTROLS. ``progress``: the page's progress bar,
    which says that a picture is being saved once its sampling is over."""
    components = {"enabled": control(FIELDS["enabled"], f"{_ELEM}_enabled")}
    components["negative"] = control(FIELDS["negative"], f"{_ELEM}_negative")
    report = gr.HTML(NOTHING_YET, elem_id=f"{_ELEM}_report")  # in sight, above the long row of sliders
    preset = gr.Radio(list(STRENGTHS), label="Strength", elem_id=f"{_ELEM}_strength")
    for name in CONTROLS[2:]:
        components[name] = control(FIELDS[name], f"{_ELEM}_{name}")
    strengths = [components[name] for name in _STRENGTH]
    preset.input(lambda name: [STRENGTHS[name][field] for field in _STRENGTH], preset, strengths, queue=False)
    progress.change(report_of_last, outputs=report, queue=False, show_progress=False)
    return [components[name] for name in CONTROLS]


def report_of_last() -> str:
    """What guidance did in the picture made last, escaped."""
    reports, error = last_report()
    passes = {"" if name == "NAG" else name: report for name, report in reports.items()}
    if error:
        begun = [name for name, report in passes.items() if report.guided_steps]
        if not begun:
            return _STYLE + error_html(error)
        passes[begun[-1]] = replace(passes[begun[-1]], error=error)  # some steps were guided, and the table says which
    if not passes:
        if last_has_no_report_yet():
            return _DRAWING
        return off_html() if last_is_off() else NOTHING_YET
    return _STYLE + report_html(passes)
