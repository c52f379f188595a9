"""Values summed by cluster: prompts are the clusters, because pictures of one prompt are alike.

The estimate is a ratio of sums over clusters, num.sum() / den.sum(): a plain mean where den counts rows, and still a
mean over the rows that count where a cluster has fewer of them (deletion is defined only where there was something to
delete). Its standard error is that of the linearised ratio between clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sums:
    """num, den: float (G,), one entry a cluster, den > 0; names: the clusters, in the same order."""

    num: np.ndarray
    den: np.ndarray
    names: tuple[object, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray, clusters: Sequence[object] | np.ndarray) -> Sums:
        """Sums of the rows that have a value; clusters without any are left out. ValueError where none is left."""
        values = np.asarray(values, dtype=float)
        labels = np.asarray(clusters, dtype=object)
        if values.shape != labels.shape:
            raise ValueError(f"values: {values.shape} and clusters: {labels.shape} must have one length")
        known = np.isfinite(values)
        if not known.any():
            raise ValueError("values: none is a number")
        names, place = np.unique(labels[known].astype(str), return_inverse=True)
        num = np.bincount(place, weights=values[known], minlength=len(names))
        den = np.bincount(place, minlength=len(names)).astype(float)
        return cls(num, den, tuple(names))

    def __len__(self) -> int:
        return len(self.num)

    @property
    def rows(self) -> int:
        """How many rows were summed."""
        return int(self.den.sum())

    @property
    def means(self) -> np.ndarray:
        """The mean of each cluster, (G,)."""
        return self.num / self.den

    @property
    def value(self) -> float:
        """The estimate."""
        return float(self.num.sum() / self.den.sum())

    @property
    def se(self) -> float:
        """Standard error between clusters; NaN with one cluster."""
        return float(ratio(self.num, self.den)[1])


def ratio(num: np.ndarray, den: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of sums over the last axis and its standard error. num, den: (..., G) -> (...), (...)."""
    count = num.shape[-1]
    total = den.sum(-1)
    value = num.sum(-1) / total
    if count < 2:
        return value, np.full_like(np.asarray(value, dtype=float), np.nan)
    residual = num - np.asarray(value)[..., None] * den
    return value, np.sqrt((residual**2).sum(-1) * count / (count - 1)) / total


def resamples(clusters: int, draws: int, seed: int) -> np.ndarray:
    """Which clusters each bootstrap draw takes: int (draws, clusters), the same for the same seed."""
    return np.random.default_rng(seed).integers(0, clusters, (draws, clusters))
