"""Contact sheets: the best, the median and the worst pairs of a comparison, untreated picture beside them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ..stats.questions import Answer, Scale

KINDS = ("best", "median", "worst")
EACH = 3


@dataclass(frozen=True)
class Case:
    """One row of a sheet: the pictures of one model, prompt and seed. Rows of the frame; untreated may be None."""

    kind: str
    untreated: pd.Series | None
    control: pd.Series
    treated: pd.Series


def cases(frame: pd.DataFrame, answer: Answer, preservation: str, scales: dict[str, Scale]) -> list[Case]:
    """Pairs in order of the treated picture's outcome, then of its preservation; one of a prompt in each kind."""
    rows = answer.rows
    if rows is None or not len(rows):
        return []
    outcome = answer.question.outcome
    keys = ["model", "pair", "seed"]
    treated = frame[frame["arm"] == answer.treatment].set_index(keys)
    control = frame[frame["arm"] == answer.control].set_index(keys)
    plain = frame[frame["arm"] == "untreated"].set_index(keys)
    ranked = rows[keys].copy()
    for name, metric in (("first", outcome), ("second", preservation)):
        sign = -1 if scales[metric].better == "lower" else 1
        values = treated[metric] if metric in treated else pd.Series(0.0, index=treated.index)
        ranked[name] = [sign * float(values[tuple(key)]) for key in rows[keys].itertuples(index=False)]
    ranked = ranked.sort_values(
        ["first", "second", *keys], ascending=[False, False, True, True, True], ignore_index=True
    )
    middle = len(ranked) // 2
    around = sorted(range(len(ranked)), key=lambda at: abs(at - middle))
    orders = {"best": range(len(ranked)), "median": around, "worst": range(len(ranked) - 1, -1, -1)}
    found = []
    for kind in KINDS:
        seen: set[str] = set()
        for at in orders[kind]:
            key = tuple(ranked.loc[at, keys])
            if len(seen) < EACH and key[1] not in seen:
                seen.add(key[1])
                untreated = plain.loc[key] if key in plain.index else None
                found.append(Case(kind, untreated, control.loc[key], treated.loc[key]))
    return found
