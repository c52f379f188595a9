"""The schedule as a picture: one bar per step and the line of the CFG scale, drawn from the very object that gates
(schedule.Resolved)."""

from __future__ import annotations

from html import escape

from ..schedule import Resolved, lowered_cfg, ranges
from .markup import Value, note, words

_WIDE, _HIGH, _HEAD, _FOOT = 480, 64, 12, 14
_MOST = 200  # bars; beyond, they are less than two units wide
_NAMED = 30  # steps that are numbered one by one


def schedule_html(resolved: Resolved, cfg: float | None = None, exact: bool = True) -> str:
    """Inline SVG and one line of words. ``cfg``: the host's scale, for the cooldown. ``exact``: False where the steps
    only stand for the sampler's own."""
    total = min(len(resolved.times), _MOST)
    scales = [lowered_cfg(cfg, factor) for factor in resolved.cfg_factor] if cfg else []
    bars = "".join(_bar(resolved, i, _WIDE / total, scales) for i in range(total))
    if any(scale != cfg for scale in scales):
        bars += _line(scales[:total])
    box = f"0 {-_HEAD} {_WIDE} {_HEAD + _HIGH + _FOOT}"
    drawn = f'<svg viewBox="{box}" aria-hidden="true">{bars}</svg>'  # the words say the same
    return f'<div class="nag-time-plot">{drawn}{_told(resolved, cfg, exact)}</div>'


def _told(resolved: Resolved, cfg: float | None, exact: bool) -> str:
    total, guided, cooling = len(resolved.times), resolved.guided_steps, resolved.cooldown_steps
    if not guided:
        return _nothing(resolved)
    parts = ["guided steps", Value(f"{ranges(guided)} / {total}")]
    if any(0 < s < 1 for s in resolved.strength):
        parts += ["strength", Value(" ".join(f"{s:.2g}" for s in resolved.strength if s > 0))]
    if cfg:
        parts += ["CFG", Value(f"{cfg:g}")]
    if cooling:
        factor = 1 - resolved.schedule.cooldown_drop
        lowered = f"× {factor:.3g}" if cfg is None else f"{lowered_cfg(cfg, factor):.3g}"
        parts += ["cooldown in steps", Value(ranges(cooling)), "CFG there", Value(lowered)]
    text = f"<p>{words(*parts)}</p>"
    if cooling and cfg is not None and cfg <= 1:
        text += note("At CFG 1 the cooldown changes nothing.", kind="warning")
    return text if exact else text + note("The sampler's own steps are known when it runs.")


def _nothing(resolved: Resolved) -> str:
    """The window is empty: say where the steps are."""
    if resolved.schedule.unit == "sigma" and resolved.sigmas is not None:
        places = list(resolved.sigmas)
    else:
        places = [resolved.progress(t) for t in resolved.times]
    at = ", ".join(f"{p:.3g}" for p in dict.fromkeys(places[:12])) + (", ..." if len(places) > 12 else "")
    rule = "Start must not be beyond one of them, and end must be beyond it."
    return note("No step is guided. The steps lie at", Value(at), rule, kind="warning")


def _bar(resolved: Resolved, i: int, slot: float, scales: list[float]) -> str:
    strength, factor = resolved.strength[i], resolved.cfg_factor[i]
    kind = "guided" if strength > 0 else "cooldown" if factor != 1 else "idle"
    high = max(strength * _HIGH, 2.0)
    told = f"{i + 1}: t {resolved.times[i]:.0f}, {strength:.0%}"
    if scales:
        told += f", CFG {scales[i]:.3g}"
    elif factor != 1:
        told += f", CFG × {factor:.3g}"
    x, wide = i * slot + slot * 0.08, slot * 0.84
    place = f'x="{x:.1f}" y="{_HIGH - high:.1f}" width="{wide:.1f}" height="{high:.1f}"'
    bar = f'<rect class="nag-time-{kind}" {place}><title>{escape(told)}</title></rect>'
    every = 1 if len(resolved.times) <= _NAMED else 10
    name = "" if (i + 1) % every else f'<text x="{x + wide / 2:.1f}" y="{_HIGH + _FOOT - 2}">{i + 1}</text>'
    return bar + name


def _line(scales: list[float]) -> str:
    """The CFG scale, step by step, with its number wherever it changes."""
    slot, top = _WIDE / len(scales), max(scales)
    path, numbers = "", ""
    for i, scale in enumerate(scales):
        y = _HIGH - scale / top * (_HIGH - 4)
        path += f"{'L' if path else 'M'}{i * slot:.1f} {y:.1f}H{(i + 1) * slot:.1f}"
        if i == 0 or scale != scales[i - 1]:
            name = f"CFG {scale:.3g}" if i == 0 else f"{scale:.3g}"
            numbers += f'<text class="nag-time-cfg" x="{i * slot + 2:.1f}" y="{y - 3:.1f}">{name}</text>'
    return f'<path class="nag-time-cfg" d="{path}"/>{numbers}'
