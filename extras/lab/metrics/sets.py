"""Numbers of a *set* of pictures: FID and KID to the untreated set, and how different the seeds of one prompt come out.

Never of one pair: a Fréchet distance between two pictures means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from .extractors import GRID, features
from .metric import Absent

LEAST = 16  # pictures; below it a covariance says nothing
Pictures = Sequence[Image.Image]


def fid_to_untreated(
    pictures: Pictures, untreated: Pictures, extractor: str | None = None, _prompts: Any = None
) -> float | Absent:
    """Fréchet distance of a set from the untreated set. With few pictures it is biased upward: compare equal sizes."""
    both = _both(pictures, untreated, extractor)
    return both if isinstance(both, Absent) else fid(*both)


def kid_to_untreated(
    pictures: Pictures, untreated: Pictures, extractor: str | None = None, _prompts: Any = None
) -> float | Absent:
    """Squared kernel distance of a set from the untreated set; unbiased, so the one to read with few pictures."""
    both = _both(pictures, untreated, extractor)
    return both if isinstance(both, Absent) else kid(*both)


def diversity_of(
    pictures: Pictures, _untreated: Pictures, extractor: str | None = None, prompts: Sequence[object] | None = None
) -> float | Absent:
    """How far apart the seeds of a prompt come out."""
    if prompts is None or len(set(map(str, prompts))) == len(pictures):
        return Absent("no prompt has two pictures")
    table = features(pictures, extractor or GRID)
    return table if isinstance(table, Absent) else diversity(table, prompts)


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


def diversity(features: np.ndarray, prompts: Sequence[object]) -> float:
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


def _both(pictures: Pictures, untreated: Pictures, extractor: str | None) -> tuple[np.ndarray, np.ndarray] | Absent:
    if not untreated:
        return Absent("no untreated set to compare with")
    if len(pictures) != len(untreated):
        return Absent(f"the sets differ in size: {len(pictures)} pictures, {len(untreated)} untreated")
    if len(pictures) < LEAST:
        return Absent(f"{len(pictures)} pictures are fewer than {LEAST}")
    real, fake = (features(each, extractor or GRID) for each in (untreated, pictures))
    return real if isinstance(real, Absent) else fake if isinstance(fake, Absent) else (real, fake)
