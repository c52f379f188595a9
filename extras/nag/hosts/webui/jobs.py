"""The beginning of a job's session, and the host's callbacks, which know the job alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...settings import Settings
from .account import adopt, session_of, unended
from .closing import watch_close
from .session import Session


def start(p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Session], None]) -> Session:
    """Begin guidance of the job ``p``; ``on_end`` is called once, when it is over by whatever way."""
    session = adopt(p, Session(p, settings, negatives, on_end))
    watch_close(p, session.end)
    return session


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
