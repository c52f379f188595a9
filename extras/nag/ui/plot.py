"""The schedule as a picture: one bar per step, drawn from the very object that gates (schedule.Resolved)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..schedule import Resolved

_WIDTH, _HIGH, _FOOT = 480, 64, 14
_MOST = 200  # bars; beyond, they are less than two units wide


def schedule_svg(resolved: Resolved, cfg: float | None = None, exact: bool = True) -> str:
    """Inline SVG and one line of words. ``cfg``: the host's scale, for the cooldown's numbers. ``exact``:
    False where the steps only stand for the sampler's own."""
    total = min(len(resolved.times), _MOST)
    slot = _WIDTH / total
    bars = "".join(_bar(resolved, i, slot, cfg) for i in range(total))
    text = resolved.describe() + ("" if exact else " (the sampler's own steps are known when it runs)")
    warnings = "".join(f'<p class="nag-time-warning">{escape(w)}</p>' for w in resolved.warnings)
    return (
        f'<div class="nag-time-plot"><svg viewBox="0 0 {_WIDTH} {_HIGH + _FOOT}" role="img" '
        f'aria-label="{escape(text, quote=True)}">{bars}</svg><p>{escape(text)}</p>{warnings}</div>'
    )


def error_plot(texts: Sequence[str]) -> str:
    """In place of the picture where there is no schedule."""
    return "".join(f'<p class="nag-time-error">{escape(text)}</p>' for text in texts)


def _bar(resolved: Resolved, i: int, slot: float, cfg: float | None) -> str:
    strength, factor = resolved.strength[i], resolved.cfg_factor[i]
    kind = "guided" if strength > 0 else "cooldown" if factor != 1 else "idle"
    high = max(strength * _HIGH, 2.0)
    told = f"step {i + 1}: t {resolved.times[i]:.0f}, strength {strength:.2g}"
    if factor != 1:
        told += f", CFG {max(1.0, cfg * factor):.2g}" if cfg and cfg > 1 else f", CFG x{factor:.2g}"
    x, wide = i * slot + slot * 0.08, slot * 0.84
    place = f'x="{x:.1f}" y="{_HIGH - high:.1f}" width="{wide:.1f}" height="{high:.1f}"'
    bar = f'<rect class="nag-time-{kind}" {place}><title>{escape(told)}</title></rect>'
    every = 1 if len(resolved.times) <= 30 else 10
    name = "" if (i + 1) % every else f'<text x="{x + wide / 2:.1f}" y="{_HIGH + _FOOT - 2}">{i + 1}</text>'
    return bar + name
