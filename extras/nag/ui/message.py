"""Words for people: the report and errors as escaped HTML and as one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from ..report import Report
from ..schedule import ranges

_TITLES = ("guided steps", "layers", "calls", "mean change")
NOTHING_YET = '<p class="nag-time-none">No picture has been made with NAG Time yet.</p>'


def summary(passes: Mapping[str, Report]) -> str:
    """One line for the console and the list under the picture."""
    return " | ".join((f"{name}: " if name else "") + report.summary() for name, report in passes.items())


def report_html(passes: Mapping[str, Report]) -> str:
    """What a run did: a table with a row per pass, under it a bar per step, then errors and warnings."""
    named = len(passes) > 1 or "" not in passes
    rows = "".join(_rows(name or "picture" if named else "", report) for name, report in passes.items())
    head = "<td></td>" * named + "".join(f'<th scope="col">{title}</th>' for title in _TITLES)
    text = f'<table class="nag-time-report"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    errors = [r.error for r in passes.values() if r.error]
    warnings = dict.fromkeys(w for r in passes.values() for w in r.warnings)
    return text + _list("nag-time-error", errors) + _list("nag-time-warning", warnings)


def error_html(text: str) -> str:
    """Guidance was switched off before anything was made."""
    return _list("nag-time-error", [text]) + "<p>The picture was made without guidance.</p>"


def off_html() -> str:
    """The last picture was made with guidance switched off."""
    return '<p class="nag-time-none">The last picture was made without NAG: it is switched off.</p>'


def _rows(name: str, report: Report) -> str:
    steps = f"{ranges(report.guided_steps) or 'none'} of {report.steps}"
    cells = (steps, str(report.layers), str(report.calls), f"{report.mean_change:.1%}")
    body = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    first = f'<th scope="row">{escape(name)}</th>' if name else ""
    bars = _bars(report)
    wide = len(cells) - 1 + bool(name)
    more = f'<tr><th scope="row">by step</th><td colspan="{wide}">{bars}</td></tr>' if bars else ""
    return f"<tr>{first}{body}</tr>{more}"


def _bars(report: Report) -> str:
    """One bar per step, as high as the change in it."""
    top = max([line["change"] for line in report.per_step], default=0.0)
    if top <= 0:
        return ""
    wide, high = 8, 24
    bars = ""
    for i, line in enumerate(report.per_step):
        tall = line["change"] / top * high
        title = f"<title>step {line['step']}: {line['change']:.1%}</title>"
        place = f'x="{i * wide}" y="{high - tall:.1f}" width="{wide - 2}" height="{tall:.1f}"'
        bars += f"<rect {place}>{title}</rect>"
    size = len(report.per_step) * wide
    told = ", ".join(f"{line['change']:.1%}" for line in report.per_step)
    box = f'viewBox="0 0 {size} {high}" width="{min(size, 240)}" height="{high}" role="img" aria-label="{told}"'
    return f'<svg class="nag-time-bars" {box}>{bars}</svg>'


def _list(kind: str, texts: Iterable[str | None]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts if text)
    return f'<ul class="{kind}">{items}</ul>' if items else ""
