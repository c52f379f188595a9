"""The tab's plot: deletion over preservation, a line a family of arms. SVG as text, in the page's own colours."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 300, 48, 40, 12, 190
HUES = (350, 215, 145, 35, 275, 185, 95, 315, 245, 15)


class Dot(NamedTuple):
    """``x``, ``y``: preservation and deletion, 0 to 1; ``name``: of the arm."""

    family: str
    name: str
    x: float
    y: float


def svg(dots: Sequence[Dot], x_label: str, y_label: str) -> str:
    """The plot, or nothing without dots."""
    if not dots:
        return ""
    low = min(min(dot.x for dot in dots) - 0.01, 0.98)
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(dot: Dot) -> tuple[float, float]:
        return LEFT + across * (dot.x - low) / (1 - low), TOP + down * (1 - dot.y)

    parts = [_grid(low, across, down, x_label, y_label)]
    families = list(dict.fromkeys(dot.family for dot in dots))
    for number, family in enumerate(families):
        colour = f"hsl({HUES[number % len(HUES)]} 65% 50%)"
        mine = sorted((dot for dot in dots if dot.family == family), key=lambda dot: dot.x)
        line = " ".join("{:.1f},{:.1f}".format(*at(dot)) for dot in mine)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5" opacity=".6"/>')
        for dot in mine:
            x, y = at(dot)
            told = html.escape(f"{dot.name}: {y_label} {dot.y:.2f}, {x_label} {dot.x:.3f}")
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{told}</title></circle>')
        top = TOP + 12 + 17 * number
        parts.append(f'<circle cx="{WIDTH - RIGHT + 14}" cy="{top - 4}" r="4" fill="{colour}"/>')
        parts.append(_words(WIDTH - RIGHT + 24, top, family, "start"))
    height = max(HEIGHT, TOP + 20 + 17 * len(families))
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(f"{y_label}, {x_label}")}" '
        f'style="width:100%;color:var(--body-text-color)">{"".join(parts)}</svg>'
    )


def _grid(low: float, across: int, down: int, x_label: str, y_label: str) -> str:
    lines = []
    for i in range(5):
        y = TOP + down * (1 - i / 4)
        lines.append(f'<line x1="{LEFT}" x2="{LEFT + across}" y1="{y}" y2="{y}" stroke="currentColor" opacity=".15"/>')
        lines.append(_words(LEFT - 6, y + 4, f"{i / 4:g}", "end"))
        x = LEFT + across * i / 4
        lines.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{TOP + down}" stroke="currentColor" opacity=".15"/>')
        lines.append(_words(x, TOP + down + 15, f"{low + (1 - low) * i / 4:.2f}", "middle"))
    lines.append(_words(LEFT + across / 2, HEIGHT - 6, x_label, "middle"))
    lines.append(f'<g transform="rotate(-90 12 {TOP + down / 2})">{_words(12, TOP + down / 2, y_label, "middle")}</g>')
    return "".join(lines)


def _words(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="11.5" text-anchor="{anchor}" fill="currentColor">'
        f"{html.escape(text)}</text>"
    )
