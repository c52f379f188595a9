"""The report's end: what is absent and why, how it was done, the plan and the versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from ..stats.intervals import FEW
from . import page
from .page import esc
from .results import Results

METHOD = """
Every difference is paired: the same model, prompt and seed under both arms. The reference is the untreated picture
with guidance truly off. Deletion is counted only where the untreated picture has the target. Prompts that share a
target are one cluster, as they are not independent; the table of comparisons also shows each prompt as a cluster of
its own. Intervals: 95 %, studentised cluster bootstrap, never narrower than Student's t on clusters − 1 degrees of
freedom; on simulated experiments they cover 94 to 96 % with 16 targets and 91 to 96 % with 10. Frontiers: paths over
strength, interpolated in every bootstrap draw and compared where preservation is equal; Hesterberg's expanded
percentile interval. p values: of the claim, twice the one-sided value, so that .05 belongs to the 95 % interval;
corrected by Holm over the {count} answers (looks at single models, where there is an answer for all of them, are a
family apart). A claim is called supported where its interval and its corrected p value say so. An interval that rests
on fewer than {few} differing targets says so. Metrics without weights are absent, never 0.
"""


def absent(results: Results) -> Iterator[str]:
    yield '<h2 id="absent">What is absent, and why</h2>'
    notes = results.notes
    lines = [[esc(name), esc(note), str(n)] for name, note, n in notes[["name", "note", "n"]].itertuples(index=False)]
    if len(results.sets):
        lacking = results.sets[results.sets["value"].isna()]
        counted = lacking.groupby(["name", "note"], sort=False).size()
        lines += [[esc(name), esc(note), f"{n} sets"] for (name, note), n in counted.items()]
    yield page.table(["metric", "reason", "pictures"], lines, text=(1,))
    if results.failures:
        yield f"<p>{len(results.failures)} pictures failed and are in no number:</p>"
        yield page.table(["picture", "error"], [[esc(c), esc(e)] for c, e in results.failures[:50]], text=(1,))


def method(results: Results) -> Iterator[str]:
    yield '<h2 id="method">Method</h2>'
    count = len({(answer.question.id, answer.treatment) for answer in results.answers})
    yield f"<p>{esc(' '.join(METHOD.split()).format(count=count, few=FEW))}</p>"
    yield '<h2 id="plan">Plan, versions, command</h2>'
    if results.meta["command"]:
        yield f"<p>Reproduced by:</p><pre>{esc(results.meta['command'])}</pre>"
    yield f"<pre>{esc(results.meta['plan'])}</pre>"
    lines = []
    for key in ("versions", "environment"):
        lines += [[esc(key), esc(name), esc(value)] for name, value in _items(results.meta[key])]
    lines.append(["source", "extras/nag", esc(results.meta["source"])])
    yield page.table(["", "what", "version"], lines, text=(1, 2))


def _items(text: str) -> Iterable[tuple[str, object]]:
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError:
        found = {"": text}
    return found.items() if isinstance(found, dict) else [("", found)]
