"""Errors that guidance survives, and what they would hold on to."""

from __future__ import annotations

import traceback
from typing import TypeVar

import torch

E = TypeVar("E", bound=BaseException)
_TRACE = "nag_time_trace"


def without_frames(error: E) -> E:
    """The same error, its traceback turned into text: the frames it came through hold the tensors of the whole pass,
    and an error that is kept for the report would keep these until the picture is done."""
    if not hasattr(error, _TRACE):
        setattr(error, _TRACE, trace_of(error))
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def trace_of(error: BaseException) -> str:
    """What Python would print of it."""
    told: str | None = getattr(error, _TRACE, None)
    return told or "".join(traceback.format_exception(type(error), error, error.__traceback__))


def out_of_memory(error: BaseException) -> bool:
    """Memory that is full now says nothing of what cannot be done at the next call."""
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
