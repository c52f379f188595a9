"""The tab's HTML. Standard library only: a WebUI's own Python makes it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

NOTHING: dict[str, Any] = {
    "running": False, "said": "", "kind": "note", "share": 0.0, "words": "", "table": "", "plot": "", "report": "",
}  # fmt: skip
"""What there is to see before anything runs. said: a sentence, of the kind note or error; share, words: of the bar;
table, plot: HTML; report: the file's path."""
BUSY = "A plan is running: stop it first."


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows of text and numbers; a number that is none is a dash."""
    lines = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    whole = f'<table class="nag-lab-table"><tr>{heads}</tr>{lines}</table>'
    return f'<div class="nag-lab-scroll" tabindex="0">{whole}</div>'


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value == value else "–"
    return html.escape(str(value))


def bar(look: dict[str, Any]) -> str:
    """The bar, and the mark by which our script goes on asking; nothing while nothing runs."""
    if not look["running"]:
        return ""
    percent = f"{100 * look['share']:.0f}"
    return (
        '<div class="nag-lab-bar" data-nag-lab-running="1" role="progressbar" aria-label="Lab" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}">'
        f'<div style="width:{percent}%"></div><span>{html.escape(look["words"])}</span></div>'
    )
