"""What a run did, for beside the picture: how long it took, and what its scripts have to say."""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence

from modules import infotext_utils

_runs = itertools.count(1)
TROUBLE = ("NAG error", "NAG warning")
"""Infotext fields in which guidance says what went wrong."""


def render(texts: Sequence[str], comments: str, seconds: float, interrupted: bool) -> str:
    """HTML, everything escaped. ``texts``: infotexts of the run's pictures; ``comments``: one line each."""
    params = infotext_utils.parse_generation_parameters(texts[0], []) if texts else {}
    lines = [line.strip() for line in comments.splitlines() if line.strip()]
    told = [str(params[key]) for key in TROUBLE if params.get(key)]
    trouble = [text for text in told if not any(text in line for line in lines)]
    head = f"{'Interrupted after' if interrupted else 'Done in'} {seconds:.2f} s"
    body = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    body += "".join(f'<p class="warning" role="status">{html.escape(line)}</p>' for line in trouble)
    if not lines and not trouble:
        head += " · not guided"
    return f'<section class="report" data-run="{next(_runs)}"><header>{html.escape(head)}</header>{body}</section>'
