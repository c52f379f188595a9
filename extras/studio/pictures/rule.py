"""rule.svg: the rule that guides, on features of two numbers. Drawn with the very function that guides."""

from __future__ import annotations

from pathlib import Path

import torch

from extras.nag.maths import normalized_guidance

POSITIVE, NEGATIVE = (1.0, 0.55), (0.35, 0.95)
SCALE, TAU, ALPHA = 4.0, 1.5, 0.5
WIDE, HIGH, UNIT = 640, 390, 112
ORIGIN = (90, 285)


def points() -> dict[str, tuple[float, float]]:
    """Name -> (x, y) of every stage, each by the function itself: without a limit, with it, mixed."""
    pos, neg = torch.tensor(POSITIVE), torch.tensor(NEGATIVE)
    stages = {
        "z⁻": neg,
        "z⁺": pos,
        "1": normalized_guidance(pos, neg, SCALE, 1e9, 1.0),
        "2": normalized_guidance(pos, neg, SCALE, TAU, 1.0),
        "3": normalized_guidance(pos, neg, SCALE, TAU, ALPHA),
    }
    return {name: (float(value[0]), float(value[1])) for name, value in stages.items()}


def draw(out: Path) -> list[Path]:
    path = out / "rule.svg"
    path.write_text(svg(), encoding="utf-8")
    return [path]


def svg() -> str:
    """The drawing, on white: GitHub shows it on dark pages too."""
    at = points()
    limit = TAU * sum(map(abs, at["z⁺"]))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" role="img" '
        'aria-label="From the negative through the positive, shortened to tau, mixed by alpha" '
        'font-family="sans-serif" font-size="15">',
        f'<rect width="{WIDE}" height="{HIGH}" fill="white"/>',
        _line((-0.7, 0), (4.6, 0), "#ddd"),
        _line((0, -0.8), (0, 2.45), "#ddd"),
        _line((0, limit), (limit, 0), "#94a3b8", "6 4"),
        _line((limit, 0), (limit - 0.5, -0.5), "#94a3b8", "6 4"),
        _line((0, limit), (-0.6, limit - 0.6), "#94a3b8", "6 4"),
        _text((0.2, limit - 0.05), f"tau: at most {TAU:g} times as long as z⁺", "#64748b"),
        _line(at["z⁻"], at["1"], "#fb7185", "3 3"),
        _line((0, 0), at["1"], "#fda4af"),
        _line(at["z⁺"], at["2"], "#60a5fa", "3 3"),
    ]
    told = {
        "z⁻": ("#64748b", "z⁻  the negative's", (0.1, 0.04)),
        "z⁺": ("#0f172a", "z⁺  the prompt's", (0.1, 0.06)),
        "1": ("#e11d48", f"1  scale {SCALE:g}: on from z⁻ through z⁺", (-1.1, -0.22)),
        "2": ("#e11d48", "2  shortened to tau", (-1.45, -0.18)),
        "3": ("#2563eb", f"3  alpha {ALPHA:g}: half way back to z⁺", (-1.35, -0.3)),
    }
    for name, (colour, words, (right, up)) in told.items():
        x, y = at[name]
        parts.append(f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="5" fill="{colour}"/>')
        parts.append(_text((x + right, y + up), words, colour))
    return "\n".join([*parts, "</svg>", ""])


def _x(x: float) -> float:
    return ORIGIN[0] + UNIT * x


def _y(y: float) -> float:
    return ORIGIN[1] - UNIT * y


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, dashes: str = "") -> str:
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{_x(start[0]):.1f}" y1="{_y(start[1]):.1f}" x2="{_x(end[0]):.1f}" y2="{_y(end[1]):.1f}" '
        f'stroke="{colour}" stroke-width="2"{dash}/>'
    )


def _text(point: tuple[float, float], words: str, colour: str) -> str:
    halo = 'paint-order="stroke" stroke="white" stroke-width="4"'
    return f'<text x="{_x(point[0]):.1f}" y="{_y(point[1]):.1f}" fill="{colour}" {halo}>{words}</text>'
