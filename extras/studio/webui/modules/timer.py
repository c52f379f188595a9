"""Start-up stop-watch; extensions may call `startup_timer.record(name)`."""

from __future__ import annotations

import time


class Timer:
    def __init__(self):
        self.start = self.last = time.perf_counter()
        self.records: dict[str, float] = {}

    def record(self, category: str, extra_time: float = 0) -> None:
        now = time.perf_counter()
        self.records[category] = self.records.get(category, 0) + now - self.last + extra_time
        self.last = now

    @property
    def total(self) -> float:
        return time.perf_counter() - self.start


startup_timer = Timer()
startup_record = None
