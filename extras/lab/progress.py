"""How far a run is: a line on the terminal, or numbers for a page."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """``done``, ``failed``, ``total`` of a stage; ``rate`` a minute over the last two minutes; ``left``: seconds."""

    stage: str
    total: int
    done: int = 0
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    _marks: list[tuple[float, int]] = field(default_factory=list)

    def add(self, done: int, failed: int = 0) -> None:
        self.done += done
        self.failed += failed
        now = time.monotonic()
        self._marks.append((now, self.done + self.failed))
        self._marks = [m for m in self._marks if m[0] > now - 120] or self._marks[-1:]

    @property
    def rate(self) -> float:
        """A minute; 0 before anything is done."""
        now, count = time.monotonic(), self.done + self.failed
        first, before = self._marks[0] if len(self._marks) > 8 else (self.began, 0)
        return 60 * (count - before) / max(now - first, 1e-6) if count > before else 0.0

    @property
    def left(self) -> float | None:
        """Seconds; None while unknown."""
        rest = self.total - self.done - self.failed
        return 60 * rest / self.rate if self.rate > 0 else None

    def line(self) -> str:
        """For people."""
        text = f"{self.stage}: {self.done} of {self.total}"
        text += f", {self.failed} failed" if self.failed else ""
        if self.rate and self.done + self.failed < self.total:
            text += f", {self.rate:.0f} a minute, {clock(self.left or 0)} left"
        return text


def clock(seconds: float) -> str:
    """45 s, 3 min 10 s, 2 h 5 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class Line:
    """Shows progress: one line that changes on a terminal, a new line now and then elsewhere."""

    def __init__(self, every: float = 15.0):
        self.live, self.every, self.last, self.stage = sys.stdout.isatty(), every, 0.0, ""

    def __call__(self, progress: Progress) -> None:
        over = progress.done + progress.failed >= progress.total
        now = time.monotonic()
        if not over and progress.stage == self.stage and now - self.last < (0.2 if self.live else self.every):
            return
        self.last, self.stage = now, progress.stage
        if self.live:
            print(f"\r{progress.line():<78}", end="\n" if over else "", flush=True)
        else:
            print(progress.line(), flush=True)
