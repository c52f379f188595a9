"""Errors of scripts and callbacks are printed and remembered, never raised: that is the contract."""

from __future__ import annotations

import sys
import textwrap
import traceback

MAX_RECORDS = 20
exception_records: list[dict] = []


def record_exception() -> None:
    """Remember the exception being handled, if there is one. The newest ``MAX_RECORDS`` are kept."""
    _, error, tb = sys.exc_info()
    if error is None:
        return
    frames = [[f"{f.filename}, line {f.lineno}, {f.name}", f.line] for f in traceback.extract_tb(tb)]
    exception_records.append({"exception": str(error), "traceback": frames})
    del exception_records[:-MAX_RECORDS]


def get_exceptions() -> list[dict]:
    """The remembered exceptions, newest first."""
    return list(reversed(exception_records))


def report(message: str, *, exc_info: bool = False) -> None:
    """Print ``message`` to stderr, each line marked, with the current traceback when ``exc_info``."""
    record_exception()
    for line in message.splitlines():
        print("***", line, file=sys.stderr)
    if exc_info:
        print(textwrap.indent(traceback.format_exc(), "    "), file=sys.stderr)
        print("---", file=sys.stderr)


def print_error_explanation(message: str) -> None:
    """Print a framed explanation to stderr."""
    record_exception()
    lines = message.strip().split("\n")
    rule = "=" * max(len(line) for line in lines)
    print("\n".join([rule, *lines, rule]), file=sys.stderr)


def display(error: Exception, task: str | None, *, full_traceback: bool = False) -> None:
    """Print what was being done and the traceback of ``error``."""
    record_exception()
    print(f"{task or 'error'}: {type(error).__name__}", file=sys.stderr)
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)


_displayed: set[str] = set()


def display_once(error: Exception, task: str) -> None:
    """As `display`, but only the first time for each task."""
    if task not in _displayed:
        _displayed.add(task)
        display(error, task)


def run(code, task: str) -> None:
    """Call ``code()``; an exception is displayed, not raised."""
    try:
        code()
    except Exception as error:
        display(error, task)
