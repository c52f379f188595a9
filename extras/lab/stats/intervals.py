"""Confidence intervals that hold with few prompts.

A percentile bootstrap over 16 clusters covers 88–92 %, not 95 %. Here: the studentised cluster bootstrap (bootstrap-t,
Efron 1981; Cameron, Gelbach and Miller 2008 for clusters), never narrower than Student's t on G − 1 degrees of freedom.
`coverage.py` measures what that covers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy import stats

from .clusters import Sums, ratio, resamples

DRAWS = 4999
FEW = 5  # fewer prompts than this that differ from the rest: the interval is shakier than it says


@dataclass(frozen=True)
class Estimate:
    """A value and its interval [low, high] at `level`. NaN bounds: the data do not say; `note` says why.

    clusters, rows: what it rests on. se: between clusters. pivots: sorted bootstrap t values, for p values.
    """

    value: float
    low: float
    high: float
    se: float
    clusters: int
    rows: int
    level: float = 0.95
    note: str = ""
    pivots: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    @property
    def known(self) -> bool:
        """Is there an interval at all?"""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def p_above(self, null: float = 0.0) -> float:
        """One-sided p value of "not above `null`": small = the value lies above. NaN without an interval."""
        if not self.known or not self.se > 0:
            return math.nan
        t = (self.value - null) / self.se
        by_bootstrap = (1 + np.count_nonzero(self.pivots >= t)) / (1 + len(self.pivots))
        return float(max(by_bootstrap, stats.t.sf(t, self.clusters - 1)))

    def p_below(self, null: float = 0.0) -> float:
        """One-sided p value of "not below `null`"."""
        if not self.known or not self.se > 0:
            return math.nan
        t = (self.value - null) / self.se
        by_bootstrap = (1 + np.count_nonzero(self.pivots <= t)) / (1 + len(self.pivots))
        return float(max(by_bootstrap, stats.t.cdf(t, self.clusters - 1)))

    def p_differs(self, null: float = 0.0) -> float:
        """Two-sided p value of "equals `null`"."""
        return min(1.0, 2 * min(self.p_above(null), self.p_below(null)))


@lru_cache(maxsize=64)
def _resamples(clusters: int, draws: int, seed: int) -> np.ndarray:
    return resamples(clusters, draws, seed)


def estimate(
    sums: Sums, level: float = 0.95, draws: int = DRAWS, seed: int = 0, bounds: tuple[float, float] | None = None
) -> Estimate:
    """The ratio of sums with its interval. bounds: what values are possible at all, such as (-1, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"level: {level} must lie between 0 and 1")
    count = len(sums)
    value, se = sums.value, sums.se
    if count < 3:
        return Estimate(value, math.nan, math.nan, se, count, sums.rows, level, "fewer than 3 targets: no interval")
    if not se > 1e-12 * max(1.0, abs(value)):
        note = "every target gave the same value: the data show no spread to make an interval from"
        return Estimate(value, math.nan, math.nan, 0.0, count, sums.rows, level, note)
    picks = _resamples(count, draws, seed)
    drawn, spread = ratio(sums.num[picks], sums.den[picks])
    real = spread > 1e-9 * se  # a draw of nothing but equal clusters has no t value
    pivots = np.sort((drawn[real] - value) / spread[real])
    tail = (1 - level) / 2
    student = float(stats.t.ppf(1 - tail, count - 1))
    left, right = (np.quantile(pivots, [tail, 1 - tail])) if len(pivots) else (-student, student)
    low = value - max(float(right), student) * se
    high = value - min(float(left), -student) * se
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Estimate(value, low, high, se, count, sums.rows, level, _shaky(sums), pivots)


def _shaky(sums: Sums) -> str:
    values, counts = np.unique(np.round(sums.means, 9), return_counts=True)
    others = len(sums) - int(counts.max())
    if others >= FEW or len(values) == len(sums):
        return ""
    return f"rests on {others} of {len(sums)} targets, the others being equal: the interval may be too narrow"
