"""The report's pictures: contact sheets, and for every prompt the way to its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from ..stats.questions import ALL_MODELS, FRONTIER, Answer
from . import page, sheets, wording
from .page import esc
from .results import SCALES, Results


def contact_sheets(results: Results) -> Iterator[str]:
    yield '<h2 id="sheets">Pictures</h2>'
    done = set()
    for answer in results.answers:
        key = (answer.treatment, answer.control)
        if answer.question.test == FRONTIER or key in done:
            continue
        found = sheets.cases(results.frame, answer, results.preservation, SCALES)
        if not found:
            continue
        done.add(key)
        yield f"<h3>{esc(answer.question.id)}: {esc(answer.treatment)} beside {esc(answer.control)}</h3>"
        order = ", then of ".join(SCALES[name].label for name in (answer.question.outcome, results.preservation))
        yield f'<p class="soft">In order of {esc(order)}. Each picture leads to its file.</p>'
        for kind, group in groupby(found, key=lambda case: case.kind):
            yield f'<h3>{esc(kind)}</h3><div class="sheet">'
            yield from (_case(results, case, answer) for case in group)
            yield "</div>"


def _case(results: Results, case: sheets.Case, answer: Answer) -> str:
    trio = []
    for name, row in (("untreated", case.untreated), (answer.control, case.control), (answer.treatment, case.treated)):
        if row is None:
            continue
        path = Path(row["image"])
        image = f'<img alt="{esc(name)}" src="{page.picture(path)}">' if path.is_file() else "missing"
        trio.append(f'<a href="{esc(_link(results, path))}" title="{esc(row["cell"])}">{image}{esc(name)}</a>')
    model, _, seed = case.treated.name
    numbers = ", ".join(
        f"{SCALES[name].label} {wording.number(float(case.treated[name]), name)}"
        for name in dict.fromkeys((answer.question.outcome, results.preservation)) if name in case.treated
    )  # fmt: skip
    said = f"{model}, “{case.treated['prompt']}” without {case.treated['target']}, seed {seed}: {numbers}"
    return f'<div class="case"><div class="trio">{"".join(trio)}</div><p class="soft">{esc(said)}</p></div>'


def by_prompt(results: Results) -> Iterator[str]:
    yield '<h2 id="prompts">By prompt</h2>'
    for answer in results.answers:
        if answer.rows is None or answer.model == ALL_MODELS:
            continue
        metric = answer.question.outcome
        frame = results.frame
        treated = frame[frame["arm"] == answer.treatment].set_index(["model", "pair", "seed"])["image"]
        lines = []
        for (model, pair), rows in answer.rows.groupby(["model", "pair"], sort=False):
            links = " ".join(
                f'<a href="{esc(_link(results, Path(treated[model, pair, seed])))}">{esc(seed)}</a>'
                for seed in rows["seed"]
            )
            means = [wording.number(rows[f"{metric}{side}"].mean(), metric) for side in ("_treated", "_control")]
            lines.append([esc(model), esc(pair), str(len(rows)), *means,
                          esc(wording.number(rows[metric].mean(), metric, True)), links])  # fmt: skip
        said = f"{esc(answer.question.id)}, {esc(answer.model)}: {esc(SCALES[metric].label)}"
        yield page.table(["model", "prompt", "pairs", esc(answer.treatment), esc(answer.control), "difference",
                          "treated pictures, by seed"], lines, said, text=(1, 6))  # fmt: skip


def _link(results: Results, path: Path) -> str:
    return os.path.relpath(path, results.folder).replace(os.sep, "/")
