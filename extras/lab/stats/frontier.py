"""Adherence against preservation, walked over strength: schedules are compared where they preserve equally well.

A schedule's path begins at (1, 0), strength "off": the untreated picture, in which nothing is deleted. What it attains
at preservation x is the best adherence on the path among points that preserve at least x. Every bootstrap draw of
prompts makes its own paths and its own matched points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from .clusters import resamples
from .intervals import Estimate

DRAWS = 1999
OFF = (1.0, 0.0)  # preservation, adherence of the untreated picture


@dataclass(frozen=True)
class Path:
    """One schedule. by: its strength, such as "scale"; strengths: (K,); x, y: sums of preservation and adherence
    by strength and cluster, (K, G); n: rows, (K, G)."""

    name: str
    strengths: np.ndarray
    x: np.ndarray
    y: np.ndarray
    n: np.ndarray
    by: str = "scale"

    def points(self, picks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean preservation and adherence at each strength: (K,), or (draws, K) for picks (draws, G)."""
        if picks is None:
            total = self.n.sum(-1)
            return self.x.sum(-1) / total, self.y.sum(-1) / total
        total = self.n[:, picks].sum(-1)
        return (self.x[:, picks].sum(-1) / total).T, (self.y[:, picks].sum(-1) / total).T


def path(
    frame: pd.DataFrame, name: str, preservation: str, adherence: str, clusters: list[object], strength: str = "scale"
) -> Path:
    """The path of one schedule's rows. Rows with both values count; clusters: in one order for all paths.

    Raises ValueError where a strength lacks one of them: such paths could not be compared draw by draw.
    """
    rows = frame.dropna(subset=[preservation, adherence, strength])
    strengths = np.sort(rows[strength].unique())
    shape = (len(strengths), len(clusters))
    x, y, n = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    places = {cluster: place for place, cluster in enumerate(clusters)}
    for (value, cluster), group in rows.groupby([strength, "cluster"]):
        at = (int(np.searchsorted(strengths, value)), places[cluster])
        x[at], y[at], n[at] = group[preservation].sum(), group[adherence].sum(), len(group)
    if not n.all():
        lacking = np.argwhere(n == 0)[0]
        raise ValueError(f"{name}: strength {strengths[lacking[0]]:g} has no picture of {clusters[lacking[1]]}")
    return Path(name, strengths, x, y, n, strength)


def attained(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Best adherence on the path among points preserving at least `at`.

    x, y: (..., K) points in order of strength, without the start; at: broadcasts against (..., 1) -> (..., M).
    """
    start = np.broadcast_to(np.asarray(OFF[0]), (*x.shape[:-1], 1))
    x = np.concatenate([start, x], -1)[..., None, :]
    y = np.concatenate([np.zeros_like(start), y], -1)[..., None, :]
    at = np.asarray(at, dtype=float)[..., None]
    x0, x1, y0, y1 = x[..., :-1], x[..., 1:], y[..., :-1], y[..., 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (at - x0) / (x1 - x0)
        crossing = np.where((x0 >= at) != (x1 >= at), y0 + share * (y1 - y0), -np.inf)
    ends = np.where(x >= at, y, -np.inf).max(-1)
    return np.maximum(ends, crossing.max(-1))


def reach(x: np.ndarray) -> np.ndarray:
    """The lowest preservation a path goes to: below it, it was not tried. x: (..., K) -> (...)."""
    return np.minimum(OFF[0], x.min(-1))


def gap_at_point(one: Path, strength: float, other: Path, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Adherence of `one` at a strength, less what `other` attains while preserving as well as `one` does there.

    The decisive control: is a window better than plain guidance made weaker?
    """
    place = int(np.argmin(abs(one.strengths - strength)))

    def gap(picks: np.ndarray | None) -> np.ndarray:
        x, y = one.points(picks)
        at = x[..., place : place + 1]
        return (y[..., place : place + 1] - attained(*other.points(picks), at))[..., 0]

    note = ""
    if one.points()[0][place] < reach(other.points()[0]) - 1e-9:
        note = f"{other.name} was not tried at strengths that change the picture as much: its strongest counts"
    return _interval(one, gap, draws, seed, note)


def mean_gap(one: Path, other: Path, draws: int = DRAWS, seed: int = 0, points: int = 33) -> Estimate:
    """Mean of (attained by `one` − attained by `other`) over the preservations that both paths reach."""

    def gap(picks: np.ndarray | None) -> np.ndarray:
        first, second = one.points(picks), other.points(picks)
        lowest = np.maximum(reach(first[0]), reach(second[0]))[..., None]
        at = lowest + (OFF[0] - lowest) * np.linspace(0, 1, points)
        return (attained(*first, at) - attained(*second, at)).mean(-1)

    return _interval(one, gap, draws, seed, "")


def expanded(clusters: int, level: float = 0.95) -> tuple[float, float]:
    """The quantiles of Hesterberg's expanded percentile interval: as wide as Student's t would be, but lopsided
    where the draws are (The American Statistician 69, 2015)."""
    tail = stats.norm.cdf(-math.sqrt(clusters / (clusters - 1)) * stats.t.ppf((1 + level) / 2, clusters - 1))
    return float(tail), float(1 - tail)


def _interval(one: Path, gap, draws: int, seed: int, note: str) -> Estimate:
    clusters = one.n.shape[1]
    value = float(gap(None))
    rows = int(one.n.sum())
    if clusters < 3:
        return Estimate(value, math.nan, math.nan, math.nan, clusters, rows, note="fewer than 3 targets: no interval")
    drawn = gap(resamples(clusters, draws, seed))
    low, high = np.quantile(drawn, expanded(clusters))
    se = float(drawn.std(ddof=1) * math.sqrt(clusters / (clusters - 1)))
    pivots = np.sort((drawn - value) / se) if se > 0 else np.zeros(0)
    return Estimate(value, float(low), float(high), se, clusters, rows, note=note, pivots=pivots)
