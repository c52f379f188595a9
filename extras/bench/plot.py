"""The record as one SVG, drawn by hand: no package is needed."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from .arms import BASE, NAG
from .report import title

Record = dict[str, Any]
WIDTH, LEFT, ROW = 860, 120, 20
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.t{font-weight:600}.s{fill:#666;font-size:11px}"
    ".b{fill:#9db4c8}.n{fill:#d9822b}.w{stroke:#222;stroke-width:1.5}.a{stroke:#999}.l{stroke:#d9822b;fill:none;stroke-width:2}"
)


def svg(result: Record) -> str:
    """Bars per model, with their 95 % intervals, and below a small chart for each curve."""
    parts: list[str] = []
    y = 10
    for model in result["models"]:
        y = _bars(parts, model, y)
    if result["curves"]:
        y = _curves(parts, result["curves"], result["curves_of"], y)
    size = f'width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}"'
    back = f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>{back}{"".join(parts)}</svg>\n'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _bars(parts: list[str], model: Record, y: int) -> int:
    parts.append(_text(10, y + 14, title(model), "t"))
    y += 24
    most = max(arm["ratio"]["high"] for arm in model["arms"].values())
    unit = (WIDTH - LEFT - 90) / most
    for name, arm in model["arms"].items():
        ratio = arm["ratio"]
        low, high = (LEFT + unit * ratio[key] for key in ("low", "high"))
        kind = "n" if name == NAG else "b"
        parts.append(_text(LEFT - 8, y + 14, name, "", "end"))
        parts.append(
            f'<rect x="{LEFT}" y="{y + 3}" width="{unit * ratio["median"]:.1f}" height="{ROW - 6}" class="{kind}"/>'
        )
        parts.append(f'<path d="M{low:.1f} {y + ROW / 2}H{high:.1f}" class="w"/>')
        label = "1" if name == BASE else f"{ratio['median']:.3f}"
        parts.append(_text(high + 8, y + 14, label))
        y += ROW
    return y + 16


def _curves(parts: list[str], curves: Record, of: str, y: int) -> int:
    parts.append(_text(10, y + 14, f"Cost of a guided step, {of}", "t"))
    y += 26
    wide, high = (WIDTH - 40) / len(curves), 110
    most = max(max(p["high"] for p in points) for points in curves.values())
    least = min(1.0, *(p["low"] for points in curves.values() for p in points))
    scale = (high - 10) / max(most - least, 1e-6)
    for i, (name, points) in enumerate(curves.items()):
        x0 = 20 + i * wide
        step = (wide - 40) / max(1, len(points) - 1)
        at = [(x0 + 14 + k * step, y + high - scale * (p["ratio"] - least)) for k, p in enumerate(points)]
        ground = y + high - scale * (1 - least)
        parts.append(f'<path d="M{x0:.1f} {ground:.1f}h{wide - 14:.1f}" class="a"/>')
        parts.append(f'<path d="M{" L".join(f"{x:.1f} {v:.1f}" for x, v in at)}" class="l"/>')
        for (x, value), point in zip(at, points, strict=True):
            parts.append(f'<circle cx="{x:.1f}" cy="{value:.1f}" r="3" class="n"/>')
            parts.append(_text(x, value - 7, f"{point['ratio']:.3f}", "s", "middle"))
            parts.append(_text(x, y + high + 16, f"{point['at']:g}", "s", "middle"))
        parts.append(_text(x0 + wide / 2 - 10, y + high + 34, name, "", "middle"))
    return int(y + high + 48)
