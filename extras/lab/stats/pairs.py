"""Pairs of pictures: the same model, prompt and seed under two arms."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .clusters import Sums

KEYS = ["model", "pair", "seed"]
CLUSTER = "cluster"


def clustered(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a column `cluster`: prompts that share a target are one, as they are not independent."""
    return frame.assign(**{CLUSTER: frame["target"].astype(str)})


def paired(frame: pd.DataFrame, treated: pd.Series, control: pd.Series, metrics: list[str]) -> pd.DataFrame:
    """One row per (model, pair, seed) that both arms have. frame: `clustered`; treated, control: bool masks over it.

    Columns: KEYS, cluster, then for each metric `m_treated`, `m_control` and the difference `m`, NaN where one lacks.
    Raises ValueError where an arm has two pictures for one key.
    """
    columns = [*KEYS, CLUSTER, *metrics]
    sides = []
    for side, mask in (("treated", treated), ("control", control)):
        rows = frame.loc[mask, columns]
        twice = rows.duplicated(KEYS)
        if twice.any():
            raise ValueError(f"{side}: several pictures for {dict(rows.loc[twice, KEYS].iloc[0])}")
        sides.append(rows)
    joined = sides[0].merge(
        sides[1].drop(columns=CLUSTER), on=KEYS, suffixes=("_treated", "_control"), validate="one_to_one"
    )
    for metric in metrics:
        joined[metric] = joined[f"{metric}_treated"].astype(float) - joined[f"{metric}_control"].astype(float)
    return joined.sort_values(KEYS, ignore_index=True)


def sums(pairs: pd.DataFrame, column: str, by: str = CLUSTER) -> Sums:
    """Sums of a column by cluster. Raises ValueError where no row has a value."""
    return Sums.of(pairs[column].to_numpy(dtype=float), pairs[by].to_numpy())


def better_share(pairs: pd.DataFrame, metric: str) -> tuple[float, float]:
    """Shares of the pairs in which the treated picture's value is higher, and lower (ties count in neither)."""
    difference = pairs[metric].to_numpy(dtype=float)
    difference = difference[np.isfinite(difference)]
    if not len(difference):
        return float("nan"), float("nan")
    return float((difference > 0).mean()), float((difference < 0).mean())
