"""What guidance did in a run, as a small table. Everything in it is read from the picture's own infotext."""

from __future__ import annotations

import html
from collections.abc import Sequence

from modules import infotext_utils

ROWS = (
    ("guided steps", "NAG guided steps"),
    ("layers", "NAG guided layers"),
    ("calls", "NAG guided calls"),
    ("mean change", "NAG mean change"),
    ("strength", "NAG scale"),
    ("negative", "NAG negative"),
)
TROUBLE = ("NAG error", "NAG warning")


def render(texts: Sequence[str], comments: str, seconds: float, interrupted: bool) -> str:
    """HTML for beside the picture; everything escaped. ``texts``: infotexts of the run's pictures."""
    params = infotext_utils.parse_generation_parameters(texts[0], []) if texts else {}
    rows = [(label, _value(key, str(params[key]))) for label, key in ROWS if params.get(key)]
    head = f"{'Interrupted after' if interrupted else 'Done in'} {seconds:.2f} s"
    cells = "".join(f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>" for label, value in rows)
    trouble = [str(params[key]) for key in TROUBLE if params.get(key)]
    notes = [line for line in comments.splitlines() if line.strip()]
    body = f"<dl>{cells}</dl>" if cells else ""
    if not rows and not trouble:
        head += " · not guided"
    body += "".join(f'<p class="warning" role="status">{html.escape(line)}</p>' for line in trouble)
    body += "".join(f"<p>{html.escape(line)}</p>" for line in notes if line not in trouble)
    return f'<section class="report"><header>{html.escape(head)}</header>{body}</section>'


def _value(key: str, value: str) -> str:
    if key == "NAG mean change":
        try:
            return f"{float(value):.1%}"
        except ValueError:
            return value
    return value
