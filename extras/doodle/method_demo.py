"""`nagtime.py demo --methods`: every method on the student at CFG 1 and on the base model beside CFG."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import method_page
from .compare import Comparison, compare
from .evaluate import BASE, STUDENT
from .method_arms import base_arms, student_arms
from .pairs import PAIRS
from .parts import Kept, Scores
from .sheets import sheet


@dataclass(frozen=True)
class Wanted:
    """What to draw. groups: of `method_arms.GROUPS`; ckpt: another checkpoint, drawn as the student is; base_seeds:
    None is as many as seeds; docs: the folder of METHODS.md, or None."""

    groups: set[str]
    seeds: int
    out: Path
    ckpt: Path | None = None
    base_seeds: int | None = None
    quick: bool = False
    docs: Path | None = None

    def comparisons(self) -> list[Comparison]:
        """One a model."""
        student, base, parts = student_arms(self.groups), base_arms(self.groups), self.out / "methods-parts"
        if self.ckpt is not None:
            return [Comparison(self.ckpt, student, self.seeds, self.out / "methods.png", self.quick, parts)]
        others = self.base_seeds or self.seeds
        return [
            Comparison(STUDENT, student, self.seeds, self.out / "methods-student.png", self.quick, parts),
            Comparison(BASE, base, others, self.out / "methods-base.png", self.quick, parts),
        ]

    def command(self) -> str:
        """The command line that measures this again."""
        words = ["python nagtime.py demo --methods all", f"--seeds {self.seeds}"]
        words += [f"--base-seeds {self.base_seeds}"] if self.base_seeds else []
        return " ".join([*words, *(["--quick"] if self.quick else []), "--docs docs"])


def run(wanted: Wanted) -> dict[str, Any]:
    """Draw, write the pictures and methods.json (and METHODS.md with its picture); the figures of both models."""
    comparisons = wanted.comparisons()
    done = [compare(one) for one in comparisons]
    if wanted.docs is not None:
        names = [(one.ckpt.stem, one.arms) for one in comparisons]
        shown = [first_with_object(kept, scores) for _, scores, kept in done]
        records = [{arm: one["all"].records for arm, one in scores.items()} for _, scores, _ in done]
        picture = sheet([(*name, drawn) for name, drawn in zip(names, shown, strict=True)], PAIRS)
        picture.quantize(256).save(wanted.docs / "methods.png", optimize=True)
        method_page.write(wanted.docs, [(*name, of) for name, of in zip(names, records, strict=True)], wanted.command())
    shutil.rmtree(wanted.out / "methods-parts")
    result = {"models": [figures for figures, _, _ in done]}
    (wanted.out / "methods.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def first_with_object(kept: Kept, scores: Scores) -> Kept:
    """For each pair one picture of every arm, all of one seed: the first kept one whose untreated twin has the
    object."""
    first = next(iter(scores.values()))
    result: Kept = {}
    for (object_, arm), pictures in kept.items():
        had = [record["had"] for record in first[object_].records[: len(pictures)]]
        seed = had.index(True) if True in had else 0
        result[object_, arm] = pictures[seed : seed + 1]
    return result
