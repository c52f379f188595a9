"""Claims and what the data say of them: superiority, non-inferiority, several at once (Holm), size of an effect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .clusters import Sums
from .intervals import Estimate

SUPERIOR, NOT_INFERIOR = "superiority", "non-inferiority"


@dataclass(frozen=True)
class Verdict:
    """What an interval says of a claim. held: True, False (the data speak against it) or None (not settled).

    p: twice the one-sided p value of the claim's null hypothesis, so that .05 belongs to the 95 % interval; margin: in
    units of the metric, 0 for superiority.
    """

    kind: str
    held: bool | None
    p: float
    margin: float
    estimate: Estimate


def judge(estimate: Estimate, kind: str, margin: float = 0.0, higher_is_better: bool = True) -> Verdict:
    """Judge treated − control. Superiority: the interval lies on the better side of 0. Non-inferiority: above −margin.

    A margin is a plan's, set before the run. Raises ValueError for a negative one, or none where one is needed.
    """
    if kind not in (SUPERIOR, NOT_INFERIOR):
        raise ValueError(f"kind: {kind!r} must be {SUPERIOR!r} or {NOT_INFERIOR!r}")
    if not margin >= 0 or (kind == NOT_INFERIOR and margin == 0):
        raise ValueError(f"margin: {margin} must be above 0 for {NOT_INFERIOR}, and never negative")
    line = -margin if kind == NOT_INFERIOR else 0.0
    if not estimate.known:
        return Verdict(kind, None, math.nan, margin, estimate)
    low, high = (estimate.low, estimate.high) if higher_is_better else (-estimate.high, -estimate.low)
    held = True if low > line else False if high < line else None
    p = estimate.p_above(line) if higher_is_better else estimate.p_below(-line)
    return Verdict(kind, held, min(1.0, 2 * p), margin, estimate)


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction: p values adjusted for being looked at together; NaN stays NaN, uncounted."""
    values = np.asarray(p, dtype=float)
    result = np.full(values.shape, np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    result[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return result


def standardised(sums: Sums) -> float:
    """Hedges' g of the prompts' mean differences: mean / SD, small-sample bias removed. NaN: no spread."""
    means = sums.means
    if len(means) < 3 or not np.std(means, ddof=1) > 0:
        return math.nan
    freedom = len(means) - 1
    return float(means.mean() / np.std(means, ddof=1) * (1 - 3 / (4 * freedom - 1)))
