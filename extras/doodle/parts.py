"""A long measurement in parts, one a prompt pair, so that a run that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from extras.nag.report import Report

from .evaluate import Arm
from .pairs import Pair
from .scores import Score

Kept = dict[tuple[str, str], np.ndarray]
"""(object, arm) -> uint8 (n, h, w, 3)."""
Scores = dict[str, dict[str, Score]]
"""arm -> object or "all" -> Score."""


class Parts:
    """The parts of one checkpoint's measurement. folder None: nothing is kept. A part of other arms, seeds or
    precision is measured anew."""

    def __init__(self, folder: Path | None, name: str, arms: Sequence[Arm], seeds: int, quick: bool):
        self.folder, self.name, self.arms = folder, name, arms
        wanted = json.dumps([[asdict(arm) for arm in arms], seeds, quick], default=list)
        self.key = hashlib.sha256(wanted.encode()).hexdigest()[:16]

    def all(self, pairs: Sequence[Pair], measure: Callable[[Pair], tuple[Scores, Kept]]) -> tuple[Scores, Kept]:
        """Scores and pictures of all pairs; `measure` is called for those that are not in the folder."""
        scores: Scores = {arm.name: {"all": Score()} for arm in self.arms}
        kept: Kept = {}
        for pair in pairs:
            found = self._read(pair)
            if found is None:
                found = measure(pair)
                self._write(pair, *found)
            for arm in self.arms:
                scores[arm.name][pair.object] = found[0][arm.name][pair.object]
                scores[arm.name]["all"].add(found[0][arm.name][pair.object])
            kept |= found[1]
        return scores, kept

    def _path(self, folder: Path, pair: Pair) -> Path:
        return folder / f"{self.name}-{pair.object}.json"

    def _write(self, pair: Pair, scores: Scores, kept: Kept) -> None:
        if self.folder is None:
            return
        path = self._path(self.folder, pair)
        path.parent.mkdir(parents=True, exist_ok=True)
        strip = np.concatenate([np.concatenate(list(kept[pair.object, arm.name]), 1) for arm in self.arms])
        Image.fromarray(strip).save(path.with_suffix(".png"))
        stored = {"key": self.key, "scores": {arm.name: asdict(scores[arm.name][pair.object]) for arm in self.arms}}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(stored), encoding="utf-8")
        partial.replace(path)

    def _read(self, pair: Pair) -> tuple[Scores, Kept] | None:
        path = None if self.folder is None else self._path(self.folder, pair)
        if path is None or not path.is_file():
            return None
        stored = json.loads(path.read_text("utf-8"))
        if stored["key"] != self.key:
            return None
        scores = {name: {pair.object: _score(values)} for name, values in stored["scores"].items()}
        with Image.open(path.with_suffix(".png")) as image:
            rows = np.split(np.asarray(image.convert("RGB")), len(self.arms))
        several = [np.stack(np.split(row, row.shape[1] // row.shape[0], axis=1)) for row in rows]
        return scores, {(pair.object, arm.name): drawn for arm, drawn in zip(self.arms, several, strict=True)}


def _score(values: dict[str, Any]) -> Score:
    reports = {method: Report(**report) for method, report in values.pop("methods").items()}
    return Score(**values, methods=reports)
