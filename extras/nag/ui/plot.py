"""The schedule as a picture: a bar per step and method and the line of the CFG scale, drawn from the very objects that
gate (schedule.Resolved)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ..fields import FIELDS
from ..schedule import Resolved, ranges
from .markup import Value, note, words

_WIDE, _HIGH, _LOW, _HEAD, _FOOT = 400, 64, 14, 12, 14
_LEFT = 64  # where names stand, if there is more than one method
_MOST = 200  # bars; beyond, they are less than two units wide
_NAMED = 30  # steps that are numbered one by one


def schedule_html(
    methods: Mapping[str, Resolved], scales: Sequence[float], exact: bool = True, handles: bool = False
) -> str:
    """Inline SVG and lines of words. ``methods``: by name, on one grid; the first is drawn high, the others low under
    it. ``scales``: the CFG scale of each step, empty where the host tells none. ``exact``: False where the steps only
    stand for the sampler's own. ``handles``: the first method's start, end and ramp can be dragged (nag_time_handles.js
    sets the sliders)."""
    lanes, top, several = "", 0, len(methods) > 1
    for name, resolved in methods.items():
        high = _HIGH if not lanes else _LOW
        lanes += f'<g transform="translate(0 {top})">{_lane(resolved, high, scales)}</g>'
        if several:
            lanes += f'<text class="nag-time-lane" x="-6" y="{top + high - 3}">{escape(name)}</text>'
        top += high + 4
    first = next(iter(methods.values()))
    if scales and len(set(scales)) > 1:
        lanes += _line(scales[:_MOST])
    left = _LEFT if several else 0
    box = f"{-left} {-_HEAD} {left + _WIDE} {_HEAD + top - 4 + _FOOT}"
    drawn = f'<svg viewBox="{box}" aria-hidden="true">{lanes}{_numbers(len(first.times), top - 4)}</svg>'
    if handles:
        drawn = _frame(first, left, _HEAD + top - 4 + _FOOT, drawn)
    told = "".join(_told(name if several else "", resolved) for name, resolved in methods.items())
    told += _cfg(list(methods.values()), scales)
    if not exact:
        told += note("The sampler's own steps are known when it runs.")
    return f'<div class="nag-time-plot">{drawn}{told}</div>'  # the words say the same to those who cannot see it


def _frame(resolved: Resolved, left: int, high: int, drawn: str) -> str:
    """The picture with three handles over its first lane. Each stands between two steps; the values that a slider has
    there travel along."""
    edges, guided, total = resolved.edges(), resolved.guided_steps, len(resolved.times)
    if not guided or not edges or total > _MOST:
        return drawn
    begin, end = guided[0] - 1, guided[-1]
    full = min(begin + max(resolved.schedule.ramp_steps - 1, 0), end)
    lane = f"top:{_HEAD / high:.2%};height:{_HIGH / high:.2%}"
    marks = ""
    for kind, at in (("start", begin), ("ramp_steps", full), ("end", end)):
        name = escape(FIELDS[kind].label)
        told = f"before step {at + 1}" if at < total else f"after step {total}"
        place = f"left:{(left + at / total * _WIDE) / (left + _WIDE):.2%};{lane}"
        marks += (
            f'<span class="nag-time-handle" role="slider" tabindex="0" data-nag-time-handle="{kind}" '
            f'aria-label="{name}" aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{at}" '
            f'aria-valuetext="{told}" title="{name}: {told}" style="{place}"></span>'
        )
    values = " ".join(f"{edge:.6g}" for edge in edges)
    data = f'data-nag-time-edges="{values}" data-nag-time-left="{left / (left + _WIDE):.4f}"'
    return f'<div class="nag-time-frame" {data}>{drawn}{marks}</div>'


def _told(name: str, resolved: Resolved) -> str:
    guided = resolved.guided_steps
    if not guided:
        return _nothing(name, resolved)
    parts: list[str] = [Value(name)] if name else []
    parts += ["guided steps", Value(f"{ranges(guided)} / {len(resolved.times)}")]
    if any(0 < s < 1 for s in resolved.strength):
        parts += ["strength", Value(" ".join(f"{s:.2g}" for s in resolved.strength if s > 0))]
    return f"<p>{words(*parts)}</p>"


def _nothing(name: str, resolved: Resolved) -> str:
    """The window is empty: say where the steps are."""
    if resolved.schedule.unit == "sigma" and resolved.sigmas is not None:
        places = list(resolved.sigmas)
    else:
        places = [resolved.progress(t) for t in resolved.times]
    at = ", ".join(f"{p:.3g}" for p in dict.fromkeys(places[:12])) + (", ..." if len(places) > 12 else "")
    rule = "Start must not be beyond one of them, and end must be beyond it."
    first: list[str] = [Value(name)] if name else []
    return note(*first, "No step is guided. The steps lie at", Value(at), rule, kind="warning")


def _cfg(methods: Sequence[Resolved], scales: Sequence[float]) -> str:
    cooling = sorted({step for resolved in methods for step in resolved.cooldown_steps})
    cooldown: list[str] = ["cooldown in steps", Value(ranges(cooling))] if cooling else []
    if not scales:
        return f"<p>{words(*cooldown)}</p>" if cooldown else ""
    runs: list[list[int]] = []  # steps of one scale, one after the other
    for i, scale in enumerate(scales):
        if runs and scales[runs[-1][0] - 1] == scale:
            runs[-1].append(i + 1)
        else:
            runs.append([i + 1])
    each = [f"{scales[run[0] - 1]:.3g} ({ranges(run)})" for run in runs]
    told = f"{scales[0]:.3g}" if len(runs) == 1 else ", ".join(each[:8]) + (", ..." if len(each) > 8 else "")
    text = f"<p>{words('CFG', Value(told), *cooldown)}</p>"
    if cooling and max(scales) <= 1:
        text += note("At CFG 1 the cooldown changes nothing.", kind="warning")
    return text


def _lane(resolved: Resolved, high: int, scales: Sequence[float]) -> str:
    total = min(len(resolved.times), _MOST)
    slot = _WIDE / total
    return "".join(_bar(resolved, i, slot, high, scales) for i in range(total))


def _bar(resolved: Resolved, i: int, slot: float, most: int, scales: Sequence[float]) -> str:
    strength, factor = resolved.strength[i], resolved.cfg_factor[i]
    kind = "guided" if strength > 0 else "cooldown" if factor != 1 else "idle"
    high = max(strength * most, 2.0)
    told = f"{i + 1}: t {resolved.times[i]:.0f}, {strength:.0%}" + (f", CFG {scales[i]:.3g}" if scales else "")
    x, wide = i * slot + slot * 0.08, slot * 0.84
    place = f'x="{x:.1f}" y="{most - high:.1f}" width="{wide:.1f}" height="{high:.1f}"'
    return f'<rect class="nag-time-{kind}" {place}><title>{escape(told)}</title></rect>'


def _numbers(steps: int, y: int) -> str:
    every = 1 if steps <= _NAMED else 10
    slot = _WIDE / min(steps, _MOST)
    marks = range(every, min(steps, _MOST) + 1, every)
    return "".join(f'<text x="{(n - 0.5) * slot:.1f}" y="{y + _FOOT - 2}">{n}</text>' for n in marks)


def _line(scales: Sequence[float]) -> str:
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
