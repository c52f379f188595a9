"""One checkpoint under several arms: their grid as a picture, and the figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .evaluate import Arm, evaluate, load_models
from .pairs import PAIRS
from .parts import Kept, Parts, Scores
from .sheets import grid

FIRST_SEED = 5_000_000


@dataclass(frozen=True)
class Comparison:
    """What `compare` draws. quick: see `Models`; parts: a folder from which a run that was killed goes on."""

    ckpt: Path
    arms: Sequence[Arm]
    seeds: int
    picture: Path
    quick: bool = False
    parts: Path | None = None


def compare(wanted: Comparison) -> tuple[dict[str, Any], Scores, Kept]:
    """Draw all arms and write their grid. Returns the figures, JSON-ready; the scores; the first three pictures of
    every pair and arm."""
    began = time.time()
    models = load_models(wanted.ckpt, wanted.quick)
    each = range(FIRST_SEED, FIRST_SEED + wanted.seeds)
    parts = Parts(wanted.parts, wanted.ckpt.stem, wanted.arms, wanted.seeds, wanted.quick)
    scores, kept = parts.all(PAIRS, lambda pair: evaluate(models, wanted.arms, each, [pair], keep=3))
    grid(kept, PAIRS, [arm.name for arm in wanted.arms], min(3, wanted.seeds)).save(wanted.picture)
    figures = {
        "checkpoint": wanted.ckpt.name,
        "picture": wanted.picture.name,
        "seeds": wanted.seeds,
        "first_seed": FIRST_SEED,
        "arms": {arm.name: scores[arm.name]["all"].table() for arm in wanted.arms},
        "pairs": {arm.name: {p.object: scores[arm.name][p.object].table() for p in PAIRS} for arm in wanted.arms},
        "settings": {arm.name: {"nag": arm.nag, "cfg": arm.cfg} for arm in wanted.arms},
        "seconds": round(time.time() - began, 1),
    }
    return figures, scores, kept
