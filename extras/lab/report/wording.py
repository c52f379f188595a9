"""Numbers and answers in words. Plain text: whoever puts it on a page escapes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..stats import claims
from ..stats.intervals import Estimate
from ..stats.questions import FRONTIER, Answer, Scale

RATES = ("deleted", "clean", "subject_kept", "present")
MINUS = "\N{MINUS SIGN}"
SUPPORTED, CONTRADICTED, OPEN = "Supported", "Contradicted", "Not settled"


def number(value: float | None, metric: str, signed: bool = False) -> str:
    """A value as read by people: rates in per cent, others with three places; – where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    sign = "+" if signed else ""
    if metric in RATES:
        return f"{100 * value:{sign}.1f}".replace("-", MINUS) + ("" if signed else " %")
    return f"{value:{sign}.3f}".replace("-", MINUS)


def interval(estimate: Estimate, metric: str, signed: bool = False) -> str:
    """`value [low, high]`; without an interval the value alone."""
    text = number(estimate.value, metric, signed)
    unit = " points" if signed and metric in RATES else ""
    if not estimate.known:
        return text + unit
    ends = (number(end, metric, signed).removesuffix(" %") for end in (estimate.low, estimate.high))
    return f"{text}{unit} [{', '.join(ends)}]"


def p_value(p: float) -> str:
    """As papers print it."""
    if not math.isfinite(p):
        return "p –"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def status(answer: Answer) -> str:
    """Supported, Contradicted or Not settled."""
    return {True: SUPPORTED, False: CONTRADICTED, None: OPEN}[answer.held]


def headline(answers: Sequence[Answer], scales: dict[str, Scale]) -> tuple[str, str]:
    """(status, sentence) of one hypothesis, all models together where there are several."""
    if answers[0].question.test == FRONTIER:
        return _frontier(answers, scales)
    return status(answers[0]), sentence(answers[0], scales)


def sentence(answer: Answer, scales: dict[str, Scale]) -> str:
    """One answer with its interval, what it rests on, and what would settle it."""
    question, found = answer.question, answer.difference
    metric, label = question.outcome, scales[question.outcome].label
    assert answer.treated is not None and answer.controlled is not None
    text = f"{answer.treatment}: {label} {number(answer.treated.value, metric)}, against "
    text += f"{number(answer.controlled.value, metric)} with {answer.control}: {interval(found, metric, True)} "
    text += f"({_basis(answer)}"
    text += f"; {p_value(answer.adjusted)} after Holm)." if math.isfinite(answer.adjusted) else ")."
    if question.test == claims.NOT_INFERIOR:
        text += (
            f" The margin, set before the run, is {_margin(question.margin, metric)}: "
            + {
                True: "the whole interval lies on the good side of it.",
                False: "the whole interval lies beyond it.",
                None: "the interval includes it.",
            }[answer.verdict.held]
        )
    if answer.preservation is not None and question.preservation != metric:
        other = scales[question.preservation].label
        text += f" {other[0].upper()}{other[1:]}: {interval(answer.preservation, question.preservation, True)}."
    if answer.matched is not None and answer.matched.known:
        match = scales[question.preservation].label
        text += (
            f" Against {answer.control} made weaker, until {match} is equal: {interval(answer.matched, metric, True)}."
        )
        text += f" ({answer.matched.note}.)" if answer.matched.note else ""
    return text + _unsettled(answer) + (f" Note: {found.note}." if found.note else "")


def _frontier(answers: Sequence[Answer], scales: dict[str, Scale]) -> tuple[str, str]:
    question = answers[0].question
    metric, match = question.outcome, scales[question.preservation].label
    higher = scales[metric].better != "lower"
    models = list(dict.fromkeys(answer.model for answer in answers))
    parts, better = [], 0
    for model in models:
        mine = [answer for answer in answers if answer.model == model]
        best = max(mine, key=lambda a: a.difference.value if higher else -a.difference.value)
        held = [a for a in mine if a.held]
        worse = [a for a in mine if a.verdict.held is False]
        better += bool(held)
        where = f"on {model}, " if len(models) > 1 else ""
        text = f"At equal {match}, {where}the best of {len(mine)} schedules is {best.treatment}: "
        text += f"mean {scales[metric].label} {interval(best.difference, metric, True)} against {best.control} "
        text += f"({_basis(best)}; {p_value(best.adjusted)} after Holm). "
        text += f"Better than {best.control}: {_names(held)}; worse: {_names(worse)}; the rest cannot be told apart."
        parts.append(text)
    all_worse = all(a.verdict.held is False for a in answers)
    return SUPPORTED if better == len(models) else CONTRADICTED if all_worse else OPEN, " ".join(parts)


def _names(answers: Sequence[Answer]) -> str:
    return ", ".join(answer.treatment for answer in answers) or "none"


def _basis(answer: Answer) -> str:
    found = answer.difference
    parts = [f"{'95 % interval over ' if found.known else ''}{found.clusters} targets"]
    if answer.prompts and answer.prompts != found.clusters:
        parts.append(f"{answer.prompts} prompts")
    if answer.rows is not None:
        parts.append(f"{found.rows} pairs of pictures")
    return ", ".join(parts)


def _margin(margin: float, metric: str) -> str:
    return f"{100 * margin:g} points" if metric in RATES else f"{margin:g}"


def _unsettled(answer: Answer) -> str:
    if answer.verdict.held and answer.held is None:
        return " By itself it would count as supported; with the other comparisons taken into account it does not."
    if answer.verdict.held is not None:
        return ""
    if answer.difference.value == 0:
        return " No difference was found."
    if answer.needed is None:
        return " What was found points away from the claim: more prompts would not be expected to support it."
    more = answer.needed > answer.difference.clusters
    return (
        f" If the truth is what was found, about {answer.needed} targets would settle it (80 % power)." if more else ""
    )
