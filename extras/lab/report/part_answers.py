"""The report's head: what was run, and the answer to each hypothesis in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ..stats.questions import FRONTIER
from . import wording
from .page import esc
from .results import SCALES, Results

CLASSES = {wording.SUPPORTED: "good", wording.CONTRADICTED: "bad", wording.OPEN: "open"}


def head(results: Results) -> Iterator[str]:
    frame = results.frame
    yield f"<h1>{esc(results.title)}</h1>"
    about = str(results.plan.get("about") or "").strip()
    if about:
        yield f"<p>{esc(about)}</p>"
    if len(frame):
        words = {
            "cell": "picture",
            "model": "model",
            "pair": "prompt",
            "target": "target",
            "seed": "seed",
            "arm": "arm",
        }
        counts = [_count(frame[column].nunique(), word) for column, word in words.items()]
        yield f'<p class="soft">{", ".join(counts)}. Drawn by: {esc(results.meta["engine"])}.</p>'
        if results.missing:
            yield f"<p><b>Unfinished:</b> {_count(results.missing, 'picture')} of the plan are not drawn yet.</p>"
    else:
        yield "<p>There is no picture in these results yet.</p>"
    parts = {"answers": "Answers", "plots": "Plots", "arms": "All arms", "details": "Comparisons", "sets": "Sets",
             "cost": "Cost", "sheets": "Pictures", "prompts": "By prompt", "absent": "Absent", "method": "Method",
             "plan": "Plan"}  # fmt: skip
    yield "<nav>" + "".join(f'<a href="#{key}">{esc(word)}</a>' for key, word in parts.items()) + "</nav>"


def answers(results: Results) -> Iterator[str]:
    yield '<h2 id="answers">Answers</h2>'
    for _, group in groupby(results.answers, key=lambda answer: answer.question.id):
        found = list(group)
        status, sentence = wording.headline(found, SCALES)
        question = found[0].question
        yield (
            f'<div class="answer {CLASSES[status]}"><p><b class="id">{esc(question.id)}</b> {esc(question.text)} '
            f'<span class="badge">{esc(status)}</span></p><p>{esc(sentence)}</p>'
        )
        if len(found) > 1 and question.test != FRONTIER:
            yield "".join(
                f'<p class="soft"><b>{esc(each.model)}</b>, {esc(wording.status(each).lower())}: '
                f"{esc(wording.sentence(each, SCALES))}</p>"
                for each in found[1:]
            )
        yield "</div>"
    for problem in results.unanswered:
        yield f'<div class="answer open"><p>{esc(problem)}</p></div>'
    if not results.answers and not results.unanswered:
        yield "<p>The plan asks no hypothesis.</p>"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
