"""`lab analyse`: the lab's statistics on a run's folder, on this lab's CSVs, or on the published study's CSVs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..errors import LabError
from ..stats.claims import NOT_INFERIOR
from ..stats.questions import Answer, Question, ask
from . import published, wording
from .csvs import answer_row
from .results import SCALES, load

STANDARD = (("H1", "hand-off", "CFG negative"), ("H2", "NAG", "CFG negative"), ("H3", "NAG Time", "NAG"))
ADHERENCE = ("deleted", "lsr", "clean")
PRESERVATION = ("ssim_background", "ssim")


def main(argv: Sequence[str]) -> int:
    """Print a table of comparisons; 2 where the files cannot be read or compared. Raises LabError for a bad folder."""
    options = _parser().parse_args(argv)
    try:
        if len(options.files) == 1 and options.files[0].is_dir():
            results = load(options.files[0])
            answers, problems, odd = results.answers, results.unanswered, []
        else:
            frame, odd = published.read(options.files)
            frame = _without(frame, options.models, options.without)
            questions = _questions(frame, options.compare, dict(options.margin))
            answers, problems = ask(frame, questions, SCALES) if questions else ([], [])
    except (published.FormatError, LabError) as error:
        print(f"nagtime lab analyse: {error}", file=sys.stderr)
        return 2
    print(table(answers))
    for problem in problems:
        print(f"not answered: {problem}", file=sys.stderr)
    if odd:
        print("\nWhat is odd in these files:\n" + "\n".join(f"- {text}" for text in odd))
    if options.csv:
        pd.DataFrame([answer_row(each) for each in answers]).to_csv(options.csv, index=False)
        print(f"\nwritten: {options.csv}")
    return 0 if answers or odd else 2


def table(answers: Sequence[Answer]) -> str:
    """The comparisons, as Markdown."""
    if not answers:
        return "Nothing to compare: two arms with the same models, prompts and seeds are needed."
    head = ("", "model", "treated − control", "outcome", "difference [95 %]", "targets × pairs", "p, Holm", "")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for each in answers:
        found, metric = each.difference, each.question.outcome
        cells = (each.question.id, each.model, f"{each.treatment} − {each.control}", SCALES[metric].label,
                 wording.interval(found, metric, True), f"{found.clusters} × {found.rows}",
                 wording.p_value(each.adjusted), _said(each))  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _said(answer: Answer) -> str:
    margin = f" at margin {answer.question.margin:g}" if answer.question.test == NOT_INFERIOR else ""
    return f"{answer.question.test}{margin}: {wording.status(answer).lower()}"


def _questions(frame: pd.DataFrame, compare: list[tuple[str, str]], margins: dict[str, float]) -> list[Question]:
    arms = set(frame["arm"].dropna()) if len(frame) else set()
    pairs = [("", *each) for each in compare] or [each for each in STANDARD if {each[1], each[2]} <= arms]
    there = [name for name in (*ADHERENCE, *PRESERVATION) if name in frame and frame[name].notna().any()]
    asked = []
    for id_, treated, control in pairs:
        for metric in there:
            test = NOT_INFERIOR if metric in margins and id_ in ("H3", "") else "superiority"
            asked.append(
                Question(id_, f"{treated} against {control}", treated, control, metric, test,
                         margin=margins.get(metric, 0.0) if test == NOT_INFERIOR else 0.0)
            )  # fmt: skip
    return asked


def _without(frame: pd.DataFrame, models: list[str], without: list[str]) -> pd.DataFrame:
    known = set(frame["model"]) if len(frame) else set()
    for name in (*models, *without):
        if name not in known:
            raise published.FormatError(f"model {name!r} is not in these files; there are: {', '.join(sorted(known))}")
    kept = frame[frame["model"].isin(models)] if models else frame
    return kept[~kept["model"].isin(without)] if without else kept


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nagtime.py lab analyse", description=__doc__.replace("`", ""))
    parser.add_argument("files", nargs="+", type=Path, metavar="FOLDER or FILE.csv")
    parser.add_argument("--models", nargs="+", default=[], metavar="MODEL", help="only these")
    parser.add_argument("--without", nargs="+", default=[], metavar="MODEL", help="all but these")
    parser.add_argument("--compare", action="append", default=[], type=_pair, metavar="ARM:ARM", help="treated:control")
    parser.add_argument("--margin", action="append", default=[], type=_margin, metavar="METRIC=NUMBER",
                        help="of non-inferiority (H3 and --compare), such as lsr=0.05")  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the comparisons there too")
    return parser


def _pair(text: str) -> tuple[str, str]:
    treated, colon, control = text.partition(":")
    if not (treated and colon and control):
        raise argparse.ArgumentTypeError(f"{text!r} is not TREATED:CONTROL")
    return treated, control


def _margin(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if name not in SCALES or not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not METRIC=NUMBER above 0; metrics: {', '.join(SCALES)}")
    return name, value
