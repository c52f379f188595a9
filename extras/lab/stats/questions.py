"""A plan's questions put to its results: one answer for each model and one for all models together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from . import claims, frontier, pairs, power
from .clusters import Sums
from .intervals import Estimate, estimate

UNTREATED, ALL_MODELS = "untreated", "all models"
FRONTIER = "frontier"
# What an untreated picture has by definition against itself.
OF_ITSELF = {
    **dict.fromkeys(("deleted", "clean", "lsr", "lpips", "lpips_background"), 0.0),
    **dict.fromkeys(("ssim", "ssim_background", "ms_ssim"), 1.0),
}
STRENGTHS = ("scale", "cfg", "handoff_cfg", "alpha", "tau")


@dataclass(frozen=True)
class Scale:
    """How a metric is read. better: "higher" or "lower"; bounds: what values it can take; label: in words."""

    label: str
    better: str = "higher"
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Question:
    """A hypothesis. treatment, control: an arm, role, family or "untreated"; outcome, preservation: metrics."""

    id: str
    text: str
    treatment: str
    control: str
    outcome: str
    test: str = claims.SUPERIOR
    preservation: str = ""
    margin: float = 0.0
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the data say.

    treated, controlled: each arm by itself on the same pairs; adjusted: the claim's p value after Holm over the answers
    (looks at single models apart); effect: Hedges' g over clusters; better, worse: shares of pairs; needed: clusters
    that would settle it with 80 % power if the truth is what was found; detectable: smallest effect these clusters show
    with 80 % power; by_prompt: the difference with every prompt its own cluster; preservation: difference in the
    preservation metric on the same pairs; matched: outcome of the treatment less what the control's family attains at
    the treatment's preservation; rows: the pairs of pictures, none for a frontier, whose treatment and control
    are families.
    """

    question: Question
    model: str
    treatment: str
    control: str
    verdict: claims.Verdict
    treated: Estimate | None
    controlled: Estimate | None
    adjusted: float = math.nan
    effect: float = math.nan
    better: float = math.nan
    worse: float = math.nan
    needed: int | None = None
    detectable: float = math.nan
    by_prompt: Estimate | None = None
    preservation: Estimate | None = None
    matched: Estimate | None = None
    prompts: int = 0
    rows: pd.DataFrame | None = None

    @property
    def held(self) -> bool | None:
        """As the verdict; but a claim holds only if it does after the correction for the other comparisons."""
        return None if self.verdict.held and not self.adjusted < 1 - self.difference.level + 1e-9 else self.verdict.held

    @property
    def difference(self) -> Estimate:
        """Treated − control, with its interval."""
        return self.verdict.estimate


class QuestionError(ValueError):
    """A question that these results cannot answer, in words for the reader."""


def ask(
    frame: pd.DataFrame, questions: Sequence[Question], scales: Mapping[str, Scale]
) -> tuple[list[Answer], list[str]]:
    """Answers, p values adjusted over all of them, and what could not be answered and why."""
    frame = pairs.clustered(frame)
    answers: list[Answer] = []
    problems: list[str] = []
    for question in questions:
        try:
            answers += answer(frame, question, scales)
        except ValueError as error:
            problems.append(f"{question.id}: {error}")
    by_model = [_is_by_model(each, answers) for each in answers]
    adjusted = np.full(len(answers), math.nan)
    for family in (False, True):
        places = [place for place, which in enumerate(by_model) if which is family]
        adjusted[places] = claims.holm([answers[place].verdict.p for place in places])
    return [replace(each, adjusted=float(p)) for each, p in zip(answers, adjusted, strict=True)], problems


def _is_by_model(answer: Answer, answers: Sequence[Answer]) -> bool:
    """Is this a look at one model, beside an answer for all of them? Such looks are a family of their own for Holm."""
    together = any(each.question == answer.question and each.model == ALL_MODELS for each in answers)
    return together and answer.model != ALL_MODELS


def answer(frame: pd.DataFrame, question: Question, scales: Mapping[str, Scale]) -> list[Answer]:
    """One answer a model that has both sides; with several models, first one for all together."""
    if question.outcome not in frame:
        raise QuestionError(f"the results have no {question.outcome}")
    frame = frame[frame["model"].isin(question.models)] if question.models else frame
    if question.test == FRONTIER:
        return _frontiers(frame, question, scales)
    treated, control = select(frame, question.treatment, "treatment"), select(frame, question.control, "control")
    for side, mask in (("treatment", treated), ("control", control)):
        arms = frame.loc[mask].groupby("model")["arm"].unique()
        many = next((found for found in arms if len(found) > 1), None)
        if many is not None:
            raise QuestionError(f"{side}: {getattr(question, side)!r} means several arms ({', '.join(many)}): name one")
    wanted = [name for name in dict.fromkeys((question.outcome, question.preservation)) if name in frame]
    joined = pairs.paired(_with_itself(frame), treated, control, wanted)
    joined = joined[joined[question.outcome].notna()]
    if joined.empty:
        raise QuestionError(f"no pair of pictures has {question.outcome} on both sides")
    names = (_name(frame, treated, question.treatment), _name(frame, control, question.control))
    models = list(dict.fromkeys(joined["model"]))
    groups = [(model, joined[joined["model"] == model]) for model in models]
    groups = [(ALL_MODELS, joined), *groups] if len(models) > 1 else groups
    both = frame[frame["family"].isin(frame.loc[treated | control, "family"])] if "family" in frame else frame[:0]
    return [
        replace(_one(question, model, *names, rows, scales), matched=_matched(both, question, model, *names))
        for model, rows in groups
    ]


def select(frame: pd.DataFrame, name: str, side: str) -> pd.Series:
    """The rows a name means: an arm, else a role, else a family. QuestionError lists what there is."""
    for column in ("arm", "role", "family"):
        if column in frame and (found := frame[column] == name).any():
            return found
    raise QuestionError(f"{side}: {name!r} is no arm, role or family here; arms: {', '.join(frame['arm'].unique())}")


def _one(
    question: Question, model: str, treatment: str, control: str, rows: pd.DataFrame, scales: Mapping[str, Scale]
) -> Answer:
    scale = scales.get(question.outcome, Scale(question.outcome))
    higher = scale.better != "lower"
    sums = pairs.sums(rows, question.outcome)
    difference = estimate(sums, bounds=_difference_bounds(scale))
    verdict = claims.judge(difference, question.test, question.margin, higher)
    treated, controlled = (
        estimate(pairs.sums(rows, f"{question.outcome}_{side}"), bounds=scale.bounds) for side in ("treated", "control")
    )
    up, down = pairs.better_share(rows, question.outcome)
    spread = _spread(sums)
    distance = (difference.value if higher else -difference.value) + verdict.margin
    preserved = None
    if question.preservation in rows and rows[question.preservation].notna().any():
        other = scales.get(question.preservation, Scale(question.preservation))
        preserved = estimate(pairs.sums(rows, question.preservation), bounds=_difference_bounds(other))
    return Answer(
        question, model, treatment, control, verdict, treated, controlled,
        effect=claims.standardised(sums),
        better=up if higher else down, worse=down if higher else up,
        needed=power.prompts_needed(distance, spread) if distance > 0 else None,
        detectable=power.detectable(len(sums), spread),
        by_prompt=estimate(pairs.sums(rows, question.outcome, "pair"), bounds=_difference_bounds(scale)),
        preservation=preserved, prompts=rows["pair"].nunique(), rows=rows,
    )  # fmt: skip


def _matched(frame: pd.DataFrame, question: Question, model: str, treatment: str, control: str) -> Estimate | None:
    """The treatment against the control made weaker, until it preserves as well. None without its frontier."""
    rows = frame[frame["model"] == model]
    treated = rows[rows["arm"] == treatment]
    others = rows.loc[rows["arm"] == control, "family"].unique()
    if (
        question.preservation not in frame
        or question.preservation == question.outcome
        or treated.empty
        or not len(others)
    ):
        return None
    paths = families(rows, question.preservation, question.outcome)
    mine, other = paths.get(str(treated["family"].iloc[0])), paths.get(str(others[0]))
    if mine is None or other is None or mine is other or len(other.strengths) < 2:
        return None
    return frontier.gap_at_point(mine, float(treated[mine.by].iloc[0]), other)


def _frontiers(frame: pd.DataFrame, question: Question, scales: Mapping[str, Scale]) -> list[Answer]:
    """Every family of the treatment against the control's, at equal preservation, for each model by itself."""
    if question.preservation not in frame:
        raise QuestionError(f"the results have no {question.preservation or 'preservation metric'} to match by")
    answers = []
    treated, control = select(frame, question.treatment, "treatment"), select(frame, question.control, "control")
    for model, rows in frame.groupby("model", sort=False):
        mine, others = treated.loc[rows.index], control.loc[rows.index]
        paths = families(rows[mine | others], question.preservation, question.outcome)
        mine, others = ({n: p for n, p in paths.items() if (rows[m]["family"] == n).any()} for m in (mine, others))
        if len(others) > 1:
            raise QuestionError(f"control: {question.control!r} means several families ({', '.join(others)}): name one")
        for name, one in mine.items():
            for other_name, other in others.items():
                if name == other_name:
                    continue
                gap = frontier.mean_gap(one, other)
                verdict = claims.judge(gap, claims.SUPERIOR, 0.0, scales[question.outcome].better != "lower")
                answers.append(
                    Answer(question, str(model), name, other_name, verdict, None, None, prompts=rows["pair"].nunique())
                )
    if not answers:
        raise QuestionError("no model has a frontier (one strength or more) on both sides")
    return answers


def families(rows: pd.DataFrame, preservation: str, adherence: str) -> dict[str, frontier.Path]:
    """Family -> its path over the strength that varies in it. rows: of one model, `clustered`.

    Only clusters that every strength of every family has count, so that all paths rest on the same prompts.
    """
    rows = rows.dropna(subset=[preservation, adherence])
    if rows.empty:
        return {}
    counts = rows.groupby("cluster")["arm"].nunique()
    clusters = sorted(counts[counts == rows["arm"].nunique()].index)
    found = {}
    for name, members in rows.groupby("family", sort=False):
        varying = [s for s in STRENGTHS if s in members and members[s].nunique() > 1] or ["scale"]
        strength = varying[0]
        if len(varying) > 1 or members[strength].isna().any() or not clusters:
            continue
        found[str(name)] = frontier.path(members, str(name), preservation, adherence, clusters, strength)
    return found


def _with_itself(frame: pd.DataFrame) -> pd.DataFrame:
    known = {name: value for name, value in OF_ITSELF.items() if name in frame}
    plain = frame["arm"] == UNTREATED
    filled = frame.copy()
    for name, value in known.items():
        filled.loc[plain, name] = value
    return filled


def _name(frame: pd.DataFrame, mask: pd.Series, fallback: str) -> str:
    arms = frame.loc[mask, "arm"].unique()
    return str(arms[0]) if len(arms) == 1 else fallback


def _difference_bounds(scale: Scale) -> tuple[float, float] | None:
    if scale.bounds is None:
        return None
    width = scale.bounds[1] - scale.bounds[0]
    return -width, width


def _spread(sums: Sums) -> float:
    return float(np.std(sums.means, ddof=1)) if len(sums) > 1 else math.nan


def questions_of(plan: Mapping[str, Any]) -> list[Question]:
    """The hypotheses of a validated plan, each with the plan's margin of its outcome."""
    margins = plan.get("margin") or {}
    return [
        Question(
            str(each["id"]), str(each["question"]), str(each["treatment"]), str(each["control"]), str(each["outcome"]),
            str(each.get("test") or claims.SUPERIOR), str(each.get("preservation") or ""),
            float(margins.get(each["outcome"], 0.0)) if each.get("test") == claims.NOT_INFERIOR else 0.0,
            tuple(each.get("models") or ()),
        )
        for each in plan.get("hypotheses") or []
    ]  # fmt: skip
