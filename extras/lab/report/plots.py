"""The plots, as SVG for embedding."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..stats import pairs
from ..stats.frontier import OFF
from ..stats.intervals import Estimate, estimate
from ..stats.questions import STRENGTHS, Scale

COLOURS = {"cfg": "#7a7a7a", "handoff": "#8c6bb1", "control": "#b9a7d0", "nag": "#2b6cb0", "nag-time": "#d97706"}
OTHERS = ("#2f855a", "#b83280", "#4a5568", "#975a16", "#2c7a7b", "#9b2c2c")
SHADES = ("#d97706", "#2f855a", "#b83280", "#2c7a7b", "#975a16", "#9b2c2c", "#4a5568", "#6b46c1", "#c05621", "#285e61")
STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "svg.hashsalt": "nag-time", "figure.constrained_layout.use": True, "legend.frameon": False,
    "text.parse_math": False,
}  # fmt: skip


def of_arm(rows: pd.DataFrame, metric: str, scale: Scale) -> Estimate | None:
    """Mean of a metric over one arm's rows (`clustered`), with its interval; None where there is no number."""
    known = rows[rows[metric].notna()] if metric in rows else rows[:0]
    return estimate(pairs.sums(known, metric), bounds=scale.bounds) if len(known) else None


def bars(rows: pd.DataFrame, arms: Sequence[str], metrics: Sequence[str], scales: dict[str, Scale]) -> str:
    """One bar an arm, with its 95 % interval; one panel a metric. rows: of one model."""
    with matplotlib.rc_context(STYLE):
        size = (4.6 * len(metrics), 0.9 + 0.34 * len(arms))
        figure = Figure(figsize=size)
        panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)
        for panel, metric in zip(panels[0], metrics, strict=True):
            for place, arm in enumerate(arms):
                mine = rows[rows["arm"] == arm]
                found = of_arm(mine, metric, scales[metric])
                if found is None:
                    panel.text(0.01, place, "absent", va="center", transform=panel.get_yaxis_transform(), color="#777")
                    continue
                panel.barh(place, found.value, color=_colour(mine, place), height=0.62)
                if found.known:
                    ends = [[found.value - found.low], [found.high - found.value]]
                    panel.errorbar(found.value, place, xerr=np.abs(ends), color="#222", capsize=3, lw=1.1)
            panel.set_xlabel(f"{scales[metric].label} ({scales[metric].better} is better)")
        panels[0][0].set_yticks(range(len(arms)), arms)
        panels[0][0].invert_yaxis()
        return _svg(figure)


def frontiers(rows: pd.DataFrame, preservation: str, adherence: str, scales: dict[str, Scale]) -> str:
    """Adherence over preservation; a family's strengths are joined; crosses are 95 % intervals. rows: of one model."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 5.0))
        panel = figure.subplots()
        families = [(name, group) for name, group in rows.groupby("family", sort=False) if name != "untreated"]
        for place, (name, group) in enumerate(families):
            role = group["role"].iloc[0]
            colour = SHADES[place % len(SHADES)] if role in ("nag-time", "") else COLOURS.get(role, "#444")
            points = list(_points(group, preservation, adherence, scales))
            if not points:
                continue
            xs, ys = [x.value for x, _, _ in points], [y.value for _, y, _ in points]
            style = "-" if role == "nag" else "--"
            panel.plot(xs, ys, style, marker="o", ms=4, lw=1.8 if role == "nag" else 1.2, color=colour, label=name)
            for x, y, strength in points:
                if x.known and y.known:
                    panel.plot([x.low, x.high], [y.value] * 2, color=colour, lw=0.6, alpha=0.6)
                    panel.plot([x.value] * 2, [y.low, y.high], color=colour, lw=0.6, alpha=0.6)
                panel.annotate(f"{strength:g}" if math.isfinite(strength) else "", (x.value, y.value), fontsize=7,
                               xytext=(3, 3), textcoords="offset points", color=colour)  # fmt: skip
        panel.plot(*OFF, marker="*", ms=9, color="#222", ls="none", label="untreated")
        panel.set_xlabel(f"{scales[preservation].label} ({scales[preservation].better} is better)")
        panel.set_ylabel(f"{scales[adherence].label} ({scales[adherence].better} is better)")
        panel.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def windows(rows: pd.DataFrame, metrics: Sequence[str], scales: dict[str, Scale]) -> str | None:
    """Sensitivity to when guidance begins and ends: one line a strength over the guided steps. None with one window."""
    guided = rows[(rows["guided"] != "") & rows["role"].isin(["nag", "nag-time"])].drop_duplicates("cell")
    order = sorted(guided["guided"].unique(), key=_first_last)
    if len(order) < 2:
        return None
    strength = next((name for name in STRENGTHS if guided[name].nunique() > 1), STRENGTHS[0])
    strengths = sorted(guided[strength].dropna().unique())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(metrics), 3.4))
        panels = figure.subplots(1, len(metrics), squeeze=False)
        for panel, metric in zip(panels[0], metrics, strict=True):
            for place, value in enumerate(strengths):
                shade = matplotlib.colormaps["viridis"](0.1 + 0.75 * place / max(1, len(strengths) - 1))
                mine = guided[guided[strength] == value]
                found = [of_arm(mine[mine["guided"] == name], metric, scales[metric]) for name in order]
                there = [(at + 0.06 * (place - len(strengths) / 2), e) for at, e in enumerate(found) if e is not None]
                xs, ys = [at for at, _ in there], [e.value for _, e in there]
                panel.plot(xs, ys, "o-", ms=4, lw=1, color=shade, label=f"{strength} {value:g}")
                for at, each in there:
                    if each.known:
                        panel.plot([at, at], [each.low, each.high], color=shade, lw=1)
            panel.set_xticks(range(len(order)), order)
            panel.set_xlabel(f"guided steps, of {int(guided['steps'].iloc[0])}")
            panel.set_ylabel(scales[metric].label)
        panels[0][-1].legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def gaps(names: Sequence[str], found: Sequence[Estimate], metric: str, scales: dict[str, Scale], against: str) -> str:
    """Differences with their intervals, one below the other, and the line of no difference."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.3 * len(names)))
        panel = figure.subplots()
        for place, each in enumerate(found):
            panel.plot(each.value, place, "o", color="#d97706", ms=5)
            if each.known:
                panel.plot([each.low, each.high], [place, place], color="#d97706", lw=1.6)
        panel.axvline(0, color="#222", lw=0.8)
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_xlabel(f"{scales[metric].label}, less {against}, at equal preservation")
        return _svg(figure)


def _points(
    group: pd.DataFrame, preservation: str, adherence: str, scales: dict[str, Scale]
) -> Iterable[tuple[Estimate, Estimate, float]]:
    both = group.dropna(subset=[preservation, adherence])
    varying = [name for name in STRENGTHS if name in both and both[name].nunique() > 1]
    for strength, mine in both.groupby(varying[0]) if varying else [(math.nan, both)]:
        if len(mine):
            x, y = (of_arm(mine, name, scales[name]) for name in (preservation, adherence))
            assert x is not None and y is not None
            yield x, y, float(strength)


def _colour(rows: pd.DataFrame, place: int) -> str:
    role = rows["role"].iloc[0] if len(rows) else ""
    return COLOURS.get(role, OTHERS[place % len(OTHERS)])


def _first_last(steps: str) -> tuple[int, int]:
    parts = [int(part) for part in steps.replace(",", "-").replace(" ", "").split("-")]
    return parts[0], parts[-1]


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
