"""Which session belongs to which job of the host, and the host's callbacks, which know the job alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...settings import Settings
from .closing import watch_close
from .session import Session, unended

_ATTRIBUTE = "nag_time_session"


def start(p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Session], None]) -> Session:
    """Begin guidance of the job ``p``; ``on_end`` is called once, when it is over by whatever way."""
    session = Session(p, settings, negatives, on_end)
    setattr(p, _ATTRIBUTE, session)
    unended.append(session)
    watch_close(p, session.end)
    return session


def session_of(p: Any) -> Session | None:
    """The session of a job, or None where guidance is off."""
    return getattr(p, _ATTRIBUTE, None)


def end_all(p: Any = None) -> None:
    """Undo whatever an earlier job has left, and forget that of ``p`` (X/Y/Z copies a job with its session)."""
    for session in list(unended):
        session.end()
    if p is not None and session_of(p) is not None:
        setattr(p, _ATTRIBUTE, None)


def on_cfg_denoiser(params: Any) -> None:
    """The host's callback before each evaluation of the sampler."""
    session = session_of(getattr(params.denoiser, "p", None))
    if session is not None:
        session.evaluate(params)


def on_cfg_after_cfg(params: Any) -> None:
    """The host's callback after CFG."""
    for session in list(unended):
        try:
            session.restore_cfg()
        except Exception as error:
            session.fail(error)
