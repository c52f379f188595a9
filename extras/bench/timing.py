"""Taking turns: every arm once per round, in rotated order, and ratios to the plain step of the same round."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .arms import BASE, Arm


@dataclass
class Spread:
    """Of paired ratios: median, quartiles, and a 95 % interval of the median (bootstrap)."""

    median: float
    low_quartile: float
    high_quartile: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """At least one value."""
        quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        draw = random.Random(0)
        medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(1000))
        return cls(statistics.median(values), quartiles[0], quartiles[2], medians[25], medians[974], len(values))


@dataclass
class Times:
    """Seconds of each round. ``busy``: processor time of all threads on a CPU, time between two events on a GPU: what
    ratios are made of, since other programs do not count in it; ``wall``: by the clock."""

    busy: dict[str, list[float]] = field(default_factory=dict)
    wall: dict[str, list[float]] = field(default_factory=dict)

    def ratios(self, name: str, to: str = BASE) -> list[float]:
        """Of each round."""
        return [a / b for a, b in zip(self.busy[name], self.busy[to], strict=True)]

    def spread(self, name: str, to: str = BASE) -> Spread:
        return Spread.of(self.ratios(name, to))


def one_step(arm: Arm) -> tuple[float, float, Any]:
    """(busy seconds, wall seconds, prediction)."""
    device = arm.subject.device
    arm.ready()
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            wall = time.perf_counter()
            begin.record()
            out = arm.step()
            end.record()
            torch.cuda.synchronize(device)
            return begin.elapsed_time(end) / 1000, time.perf_counter() - wall, out
        wall, busy = time.perf_counter(), time.process_time()
        out = arm.step()
        return time.process_time() - busy, time.perf_counter() - wall, out
    finally:
        arm.rest()


def take_turns(
    arms: Mapping[str, Arm],
    rounds: int,
    until: float | None = None,
    told: Callable[[int, Times], None] | None = None,
) -> Times:
    """``rounds`` rounds, fewer (but three) when the monotonic time ``until`` is over. A first one that warms up is
    thrown away."""
    names = list(arms)
    times = Times({name: [] for name in names}, {name: [] for name in names})
    for number in range(rounds + 1):
        if until is not None and number > 3 and time.monotonic() > until:
            break
        shift = number % len(names)
        order = names[shift:] + names[:shift]
        for name in order if number % 2 else reversed(order):
            busy, wall, _ = one_step(arms[name])
            if number:
                times.busy[name].append(busy)
                times.wall[name].append(wall)
        if told is not None:
            told(number, times)
    return times
