"""Numbers of a *set* of pictures: FID and KID to the untreated set, and how different the seeds of one prompt come out.

Never of one pair: a Fréchet distance between two pictures means nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from .extractors import GRID, extractor
from .metric import Absent, Spec

NAMES = ("fid", "kid", "diversity")
LEAST = 16  # pictures; below it a covariance says nothing
ARM, UNTREATED = "arm", "untreated"


@dataclass(frozen=True)
class SetValue:
    """One number of all pictures of an arm. value None: absent, `note` says why. members: hash of the cells."""

    model: str
    arm: str
    name: str
    value: float | None
    note: str
    n: int
    extractor: str
    members: str


def measure_sets(frame: pd.DataFrame, folder: Path, spec: Spec) -> list[SetValue]:
    """FID, KID and diversity of every arm of every model, by the extractor of spec["extractor"].

    frame: one row a picture with model, arm, pair, seed, cell, image (path, absolute or from `folder`).
    """
    name = str(spec.get("extractor") or GRID)
    features = extractor(name)
    found: list[SetValue] = []
    for model, rows in frame.groupby("model", sort=False):
        known = _features(rows, Path(folder), features)
        for arm, members in rows.groupby(ARM, sort=False):
            ids = hashlib.sha256("\n".join(sorted(members["cell"])).encode()).hexdigest()[:16]
            for what, value, note in _of_arm(members, rows[rows[ARM] == UNTREATED], known):
                found.append(SetValue(str(model), str(arm), what, value, note, len(members), name, ids))
    return found


def fid(real: np.ndarray, fake: np.ndarray) -> float:
    """Fréchet distance between two sets of features (n, d), by torchmetrics."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    measure = FrechetInceptionDistance(feature=_given(real.shape[1])).set_dtype(torch.float64)
    measure.update(torch.from_numpy(real).double(), real=True)
    measure.update(torch.from_numpy(fake).double(), real=False)
    return float(max(0.0, measure.compute()))


def kid(real: np.ndarray, fake: np.ndarray) -> float:
    """Unbiased squared kernel distance (Bińkowski et al. 2018) over all pictures; may be below 0. Equal sizes."""
    import torch
    from torchmetrics.image.kid import poly_mmd

    return float(poly_mmd(torch.from_numpy(real).double(), torch.from_numpy(fake).double()))


def diversity(features: np.ndarray, prompts: Sequence[Any]) -> float:
    """Mean distance between pictures of one prompt, averaged over the prompts with at least two."""
    from scipy.spatial.distance import pdist

    groups = pd.Series(range(len(features))).groupby(np.asarray(prompts, dtype=object).astype(str))
    means = [pdist(features[group.to_numpy()]).mean() for _, group in groups if len(group) > 1]
    if not means:
        raise ValueError("no prompt has two pictures")
    return float(np.mean(means))


def _given(width: int) -> Any:
    """What torchmetrics calls its network, here nothing but the features themselves."""
    import torch

    network: Any = torch.nn.Identity()
    network.num_features = width
    return network


def _features(rows: pd.DataFrame, folder: Path, features: Any) -> dict[str, np.ndarray] | Absent:
    if isinstance(features, Absent):
        return features
    images = rows.drop_duplicates("cell")
    table = features(_opened(images["image"], folder))
    return dict(zip(images["cell"], table, strict=True))


def _opened(paths: pd.Series, folder: Path) -> Iterator[Image.Image]:
    for path in paths:
        with Image.open(folder / path) as picture:
            yield picture.convert("RGB")


def _of_arm(
    members: pd.DataFrame, untreated: pd.DataFrame, known: dict[str, np.ndarray] | Absent
) -> Iterator[tuple[str, float | None, str]]:
    if isinstance(known, Absent):
        yield from ((name, None, known.reason) for name in NAMES)
        return
    table = np.stack([known[cell] for cell in members["cell"]])
    both = members.merge(untreated, on=["pair", "seed"], suffixes=("", "_real"))
    is_untreated = bool((members[ARM] == UNTREATED).all())
    if is_untreated or len(both) < LEAST:
        reason = "this is the untreated set" if is_untreated else f"{len(both)} pictures are fewer than {LEAST}"
        yield from ((name, None, reason) for name in NAMES[:2])
    else:
        fake = np.stack([known[cell] for cell in both["cell"]])
        real = np.stack([known[cell] for cell in both["cell_real"]])
        few = (
            f"{len(real)} pictures for {real.shape[1]} features: FID is biased upward"
            if len(real) <= 4 * real.shape[1]
            else ""
        )
        yield "fid", fid(real, fake), few
        yield "kid", kid(real, fake), ""
    try:
        yield "diversity", diversity(table, list(members["pair"])), ""
    except ValueError as error:
        yield "diversity", None, str(error)
