"""The report's plots, each with what it shows."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..stats.questions import FRONTIER
from . import page, plots
from .results import SCALES, UNTREATED, Results


def plots_part(results: Results, frame: pd.DataFrame) -> Iterator[str]:
    adherence, preservation = results.adherence, results.preservation
    metrics = [name for name in (adherence, preservation) if results.has(name)]
    if not metrics:
        return
    yield '<h2 id="plots">Plots</h2>'
    words = " and ".join(SCALES[name].label for name in metrics)
    for model, rows in frame.groupby("model", sort=False):
        arms = _asked_arms(results, rows)
        if arms:
            yield page.drawing(
                plots.bars(rows, arms, metrics, SCALES), f"{model}: {words}, with 95 % intervals over targets."
            )
        if len(metrics) == 2:
            drawn = plots.frontiers(rows, preservation, adherence, SCALES)
            yield page.drawing(
                drawn,
                f"{model}: the trade-off. Numbers are strengths; lines join one schedule; up and right is better.",
            )
        drawn = plots.windows(rows, metrics, SCALES)
        if drawn:
            yield page.drawing(drawn, f"{model}: when guidance begins and ends, by the steps it resolves to.")
        gaps = [a for a in results.answers if a.question.test == FRONTIER and a.model == model]
        if gaps:
            names, found = [a.treatment for a in gaps], [a.difference for a in gaps]
            drawn = plots.gaps(names, found, gaps[0].question.outcome, SCALES, gaps[0].control)
            match = SCALES[gaps[0].question.preservation].label
            yield page.drawing(
                drawn,
                f"{model}: schedules against {gaps[0].control} where {match} is equal, mean over the common range.",
            )


def _asked_arms(results: Results, rows: pd.DataFrame) -> list[str]:
    """Arms that a hypothesis names, in the plan's order."""
    asked = {name for a in results.answers if a.question.test != FRONTIER for name in (a.treatment, a.control)}
    return [arm for arm in rows["arm"].unique() if arm in asked and arm != UNTREATED]
