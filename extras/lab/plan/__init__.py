"""A plan: which models draw which prompts, with which seeds, guided how, and what is to be measured.

Read from YAML. Every error names file, line, field, value and what is allowed; all of them at once. The reference is
always the untreated picture: the same model, prompt and seed with guidance truly off and an empty negative prompt.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from ..errors import PlanError
from ..metrics import METRICS
from ..yamlines import read
from .arms import UNTREATED, Arm, Handoff, settings_of
from .asking import Hypothesis, Measure, Search
from .drawing import TARGET, Model, Pair, Seeds, negative_of
from .part import At, Part
from .problems import problems


class Plan(Part):
    """The whole. ``margin``: metric -> how much worse still counts as not inferior. ``metrics``: names; empty: all
    that can be had."""

    name: str
    title: str = ""
    about: str = ""
    engine: Literal["inprocess", "webui", "ray"] = "inprocess"
    models: dict[str, Model] = Field(min_length=1)
    pairs: list[Pair] = Field(min_length=1)
    seeds: Seeds
    arms: list[Arm] = Field(default_factory=list)
    metrics: list[str] = Field(default_factory=list)
    measure: Measure = Measure()
    search: Search = Search()
    options: dict[str, Any] = Field(default_factory=dict)
    margin: dict[str, float] = Field(default_factory=dict)
    hypotheses: list[Hypothesis] = Field(default_factory=list)
    baseline: Literal["untreated"] = "untreated"

    @model_validator(mode="after")
    def _names(self) -> Plan:
        if not re.fullmatch(r"\w[\w.-]{0,59}", self.name):
            allowed = "letters, digits, . _ -, the first no . or - (it names a folder)"
            raise At(f"{self.name!r} is not possible, allowed: {allowed}", "name")
        _no_twins("pairs", "", [pair.id for pair in self.pairs])
        for model in self.models:
            _no_twins("arms", f" among those of {model}", [arm.name for arm in self.arms_of(model)])
        for number, arm in enumerate(self.arms):
            base = arm.handoff.model if arm.handoff else ""
            self._check_models([*arm.models, *([base] if base else [])], "arms", number)
        for outcome, value in self.margin.items():
            _check_metric(outcome, "margin", outcome)
            if value < 0:
                raise At(f"{value} is not possible, allowed: 0 or more", "margin", outcome)
        return self

    @model_validator(mode="after")
    def _can_be_asked(self) -> Plan:
        for number, metric in enumerate(self.metrics):
            _check_metric(metric, "metrics", number)
        for field in ("outcome", "preservation"):
            _check_metric(getattr(self.search, field), "search", field)
        for number, hypothesis in enumerate(self.hypotheses):
            here = ("hypotheses", number)
            _check_metric(hypothesis.outcome, *here, "outcome")
            if hypothesis.preservation:
                _check_metric(hypothesis.preservation, *here, "preservation")
            self._check_models(hypothesis.models, *here, "models")
            for side in ("treatment", "control"):
                self._check_side(hypothesis, getattr(hypothesis, side), *here, side)
        return self

    def _check_side(self, hypothesis: Hypothesis, name: str, *place: str | int) -> None:
        """A side means an arm, else a role, else a family; of a model one arm, unless strengths are compared."""
        by_model = [self.arms_of(model) for model in hypothesis.models or self.models]
        meant = [_meant(arms, name) for arms in by_model]
        if name != UNTREATED and not any(meant):
            names = (each for arms in by_model for arm in arms for each in (arm.role, arm.family, arm.name) if each)
            raise At(f"{name!r} is no arm, family or role; there are: {', '.join(dict.fromkeys(names))}", *place)
        many = next((found for found in meant if len(found) > 1), None)
        if many and hypothesis.test != "frontier":
            raise At(f"{name!r} means several arms ({', '.join(many)}): name one", *place)

    def _check_models(self, names: list[str], *place: str | int) -> None:
        for name in names:
            if name not in self.models:
                raise At(f"{name!r} is no model of this plan; there are: {', '.join(self.models)}", *place)

    def all_arms(self) -> list[Arm]:
        """Every arm, sweeps spread out."""
        return [variant for arm in self.arms for variant in arm.variants]

    def arms_of(self, model: str) -> list[Arm]:
        """Those that are drawn with a model."""
        return [arm for arm in self.all_arms() if not arm.models or model in arm.models]


def _meant(arms: list[Arm], name: str) -> list[str]:
    for field in ("name", "role", "family"):
        if found := [arm.name for arm in arms if getattr(arm, field) == name]:
            return found
    return []


def _check_metric(name: str, *place: str | int) -> None:
    if name not in METRICS:
        raise At(f"{name!r} is no metric; there are: {', '.join(METRICS)}", *place)


def _no_twins(part: str, where: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise At(f"{twice[0]!r} stands there twice{where}", part)


def load(path: Path) -> Plan:
    """The plan of a file. PlanError with every problem, each with its line."""
    data, lines = read(path)
    if not isinstance(data, dict):
        raise PlanError([f"{path}:1: a plan is a mapping with name, models, pairs, seeds, arms"])
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        raise PlanError([told for each in error.errors() for told in problems(each, path, lines, Plan)]) from None


__all__ = [
    "TARGET",
    "UNTREATED",
    "Arm",
    "Handoff",
    "Hypothesis",
    "Measure",
    "Model",
    "Pair",
    "Plan",
    "Search",
    "Seeds",
    "load",
    "negative_of",
    "settings_of",
]
