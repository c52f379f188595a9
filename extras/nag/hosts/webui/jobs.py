"""Which session belongs to which job of the host, and the host's callbacks, which know the job alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...settings import Settings
from .closing import attempt, watch_close
from .session import Session

_ATTRIBUTE = "nag_time_session"
_open: list[Session] = []  # of jobs that the host has not closed


def start(p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Session], None]) -> Session:
    """Begin guidance of the job ``p``; ``on_end`` is called once, when it is over by whatever way."""
    session = Session(p, settings, negatives, on_end)
    setattr(p, _ATTRIBUTE, session)
    _open.append(session)
    watch_close(p, lambda: _end(session))
    return session


def _end(session: Session) -> None:
    session.end()
    if session in _open:
        _open.remove(session)


def session_of(p: Any) -> Session | None:
    """The session of a job, or None where guidance is off."""
    return getattr(p, _ATTRIBUTE, None)


def end_all(p: Any = None) -> None:
    """Undo whatever an earlier job has left, and forget that of ``p`` (X/Y/Z copies a job with its session)."""
    for session in list(_open):
        _end(session)
    if p is not None and session_of(p) is not None:
        setattr(p, _ATTRIBUTE, None)


def on_cfg_denoiser(params: Any) -> None:
    """The host's callback before each evaluation of the sampler."""
    session = session_of(getattr(params.denoiser, "p", None))
    if session is not None:
        session.evaluate(params)


def on_cfg_after_cfg(params: Any) -> None:
    """The host's callback after CFG."""
    for session in list(_open):
        error = attempt(session.restore_cfg)
        if error is not None:
            session.fail(error)
