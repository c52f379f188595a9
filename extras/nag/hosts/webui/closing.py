"""Knowing that the host is done with a job: the one thing it does after every kind of failure is to close it. And
undoing things so that one failure neither keeps the others from being undone nor reaches the host."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

_OURS = "nag_time_close"


def watch_close(p: Any, then: Callable[[], None]) -> None:
    """Call ``then`` when the host closes the job ``p``; its own ``close`` is back in place after that."""
    if getattr(p.__dict__.get("close"), _OURS, False):
        del p.__dict__["close"]  # copied along with another job
    close = p.close

    def close_and_tell() -> None:
        attempt(then)
        if p.__dict__.get("close") is close_and_tell:
            del p.__dict__["close"]
        close()

    setattr(close_and_tell, _OURS, True)
    p.close = close_and_tell


def attempt(*undo: Callable[[], None]) -> Exception | None:
    """Do all of these; the first error, told on the console, is returned instead of raised."""
    first: Exception | None = None
    for step in undo:
        try:
            step()
        except Exception as error:
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
            first = first or error
    return first
