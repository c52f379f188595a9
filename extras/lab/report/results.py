"""What a report is made of, read from a run's store once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..metrics import METRICS
from ..stats.questions import Answer, Question, Scale, ask, questions_of
from ..store import Store

SCALES = {name: Scale(m.label, m.better or "higher", m.bounds) for name, m in METRICS.items()}
UNTREATED = "untreated"


@dataclass
class Results:
    """frame: one row a place (store.frame); answers: to the hypotheses; unanswered: which could not be, and why;
    missing: pictures not drawn yet."""

    folder: Path
    frame: pd.DataFrame
    sets: pd.DataFrame
    notes: pd.DataFrame
    failures: list[tuple[str, str]]
    plan: dict[str, Any]
    meta: dict[str, str]
    missing: int = 0
    questions: list[Question] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The plan's title, else its name."""
        return str(self.plan.get("title") or self.plan.get("name") or self.folder.name)

    @property
    def preservation(self) -> str:
        """The metric that the report shows as preservation: the hypotheses' own, else the best there is."""
        asked = [question.preservation for question in self.questions if question.preservation]
        there = [name for name in (*asked, "ssim_background", "ssim") if self.has(name)]
        return there[0] if there else "ssim"

    @property
    def adherence(self) -> str:
        """The metric shown as adherence: the first hypothesis' outcome, else deletion, else LSR."""
        asked = [question.outcome for question in self.questions]
        there = [name for name in (*asked, "deleted", "lsr") if self.has(name)]
        return there[0] if there else "deleted"

    def has(self, metric: str) -> bool:
        """Is there any number of this metric?"""
        return metric in self.frame and bool(self.frame[metric].notna().any())


def load(folder: Path) -> Results:
    """Read a run's results and answer its plan's hypotheses."""
    with Store.read(folder) as store:
        keys = ("plan", "plan_json", "versions", "environment", "engine", "command", "source")
        meta = {key: store.meta(key) for key in keys}
        frame, sets, notes, failures = store.frame(), store.sets(), store.notes(), store.failures()
        missing = store.waiting()
    results = Results(Path(folder), frame, sets, notes, failures, json.loads(meta["plan_json"] or "{}"), meta, missing)
    results.questions = questions_of(results.plan)
    if len(frame):
        results.answers, results.unanswered = ask(frame, results.questions, SCALES)
    return results
