"""What the sessions of all WebUIs share: the account of one job, its end, and which session belongs to which job."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from ...methods import NAG
from ...report import Report, combine
from ...settings import Settings
from .closing import attempt

_ATTRIBUTE = "nag_time_session"
unended: list[Any] = []  # sessions: adopt() adds, end() takes away
S = TypeVar("S", bound="JobSession")


class JobSession:
    """Guidance of one job.

    ``reports``: name of pass and method ("", "hires", "TPG", "hires TPG") -> reports of the finished runs.
    ``warnings``, ``error``: of the job. ``said_in_full``: errors whose message says all there is to say.
    """

    said_in_full: ClassVar[tuple[type[BaseException], ...]] = (ValueError,)

    def __init__(self, p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Any], None]):
        self.p, self.settings, self.negatives = p, settings, list(negatives)
        self.on_end: Callable[[Any], None] | None = on_end
        self.reports: dict[str, list[Report]] = {}
        self.warnings: list[str] = []
        self.error: str | None = None

    def fail(self, error: BaseException) -> None:
        """Switch guidance off for the rest of the job; the report says why."""
        text = f"{type(error).__name__}: {error}"
        self.error = self.error or text
        print(f"[NAG Time] guidance is off for this run: {text}", file=sys.stderr)
        if not isinstance(error, self.said_in_full):
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        self._undo()

    def end(self) -> None:
        """The job is over, or never will be. Any number of times; never raises."""
        self._undo()
        if self in unended:
            unended.remove(self)
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            attempt(lambda: on_end(self))

    def passes(self) -> dict[str, Report]:
        """Pass name -> report of all its runs so far; at least one entry, which holds the job's error."""
        result = self._results()
        first = next(iter(result.values()))
        if not self.reports and self.error is None:
            self._nothing_ran()
        first.warnings += [w for w in self.warnings if w not in first.warnings]
        first.error = first.error or self.error
        return result

    # -- what a host's session says of itself ---

    def _undo(self) -> None:
        """Leave the host as it was. Any number of times; never raises."""
        raise NotImplementedError

    def _results(self) -> dict[str, Report]:
        """What passes() begins with."""
        return {name: combine(reports) for name, reports in self.reports.items()} or {"": Report()}

    def _nothing_ran(self) -> None:
        """No run has ended, and there was no error: say why, where it is known."""

    # -- for the sessions ---

    def _count(self, name: str, methods: Mapping[str, Report]) -> None:
        """The pass ``name`` is over."""
        for method, report in methods.items():
            words = (name, "" if method == NAG else method)
            self.reports.setdefault(" ".join(filter(None, words)), []).append(report)

    def _all_failed(self, methods: Mapping[str, Report]) -> None:
        """Where every method has, the job's guidance is off; else the others go on."""
        if methods and all(report.error for report in methods.values()):
            self.error = self.error or next(iter(methods.values())).error

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def adopt(p: Any, session: S) -> S:
    """The session belongs to the job ``p``, which has not ended."""
    setattr(p, _ATTRIBUTE, session)
    unended.append(session)
    return session


def session_of(p: Any) -> Any:
    """The session of a job, or None where guidance is off."""
    return getattr(p, _ATTRIBUTE, None)


def end_all(p: Any = None) -> None:
    """Undo whatever an earlier job has left, and forget that of ``p`` (X/Y/Z copies a job with its session)."""
    for session in list(unended):
        session.end()
    if p is not None and session_of(p) is not None:
        setattr(p, _ATTRIBUTE, None)
