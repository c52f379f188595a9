"""The report's parts, in reading order."""

from __future__ import annotations

from collections.abc import Iterator

from ..stats.pairs import clustered
from . import part_answers, part_method, part_pictures, part_plots, part_tables
from .results import Results


def body(results: Results) -> Iterator[str]:
    """HTML, part by part."""
    yield from part_answers.head(results)
    yield from part_answers.answers(results)
    if len(results.frame):
        frame = clustered(results.frame)
        yield from part_plots.plots_part(results, frame)
        yield from part_tables.arms(frame)
        yield from part_tables.comparisons(results)
        yield from part_tables.sets_part(results)
        yield from part_tables.cost_part(frame)
        yield from part_pictures.contact_sheets(results)
        yield from part_pictures.by_prompt(results)
    yield from part_method.absent(results)
    yield from part_method.method(results)
