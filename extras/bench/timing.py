"""Taking turns: every arm once per round, in rotated order, and ratios to the plain step of the same round."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from .arms import BASE, Arm
from .meter import Meter

T = TypeVar("T")


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
        return cls(
            statistics.median(values), quartiles[0], quartiles[2], *_interval(values, statistics.median), len(values)
        )


def share(ours: Sequence[float], plain: Sequence[float]) -> dict[str, float] | None:
    """What one way adds as a share of what another adds, of medians; with a 95 % interval (bootstrap of the rounds, in
    which both took their turns). The arguments: their ratios to the plain step. None where it is not clear that the
    other adds anything."""

    def of(rounds: Sequence[tuple[float, float]]) -> float:
        mine, its = (statistics.median(ratios) - 1 for ratios in zip(*rounds, strict=True))
        return mine / its if its > 0 else math.inf

    rounds = list(zip(ours, plain, strict=True))
    low, high = _interval(rounds, of)
    return {"median": of(rounds), "low": low, "high": high} if math.isfinite(high) else None


def _interval(values: Sequence[T], of: Callable[[Sequence[T]], float]) -> tuple[float, float]:
    """95 %, of what ``of`` makes of them (bootstrap)."""
    draw = random.Random(0)
    drawn = sorted(of(draw.choices(values, k=len(values))) for _ in range(1000))
    return drawn[25], drawn[974]


@dataclass
class Times:
    """Seconds by arm and round. ``busy``: processor time of all threads on a CPU, time between two events on a GPU;
    other programs do not count in it, so ratios are made of it. ``wall``: by the clock. ``layers``: the parts of
    ``busy`` inside the attention layers, by their kind, where they were metered."""

    busy: dict[str, dict[int, float]] = field(default_factory=dict)
    wall: dict[str, dict[int, float]] = field(default_factory=dict)
    layers: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)

    def ratios(self, name: str, to: str = BASE) -> list[float]:
        """Of each round that has both."""
        return [seconds / self.busy[to][n] for n, seconds in self.busy[name].items() if n in self.busy[to]]

    def spread(self, name: str, to: str = BASE) -> Spread:
        return Spread.of(self.ratios(name, to))

    def by_layers(self, name: str, kind: str, to: str = BASE) -> list[float]:
        """The same ratios for an arm that differs inside the layers of this kind only: each step in units of its own
        rest. Empty where they were not metered."""

        def step(arm: str, n: int) -> float:
            return self.busy[arm][n] / (self.busy[arm][n] - self.layers[arm][n][kind])

        return [step(name, n) / step(to, n) for n in self.layers.get(name, {}) if n in self.layers[to]]


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
    seldom: Collection[str] = (),
    meter: Meter | None = None,
) -> Times:
    """``rounds`` rounds of arms that are warm, fewer (but three) when the monotonic time ``until`` is over. ``seldom``:
    arms that are taken in every third round only."""
    times = Times({name: {} for name in arms}, {name: {} for name in arms}, {name: {} for name in arms})
    for number in range(rounds):
        if until is not None and number >= 3 and time.monotonic() > until:
            break
        names = [name for name in arms if number % 3 == 0 or name not in seldom]
        shift = number % len(names)
        order = names[shift:] + names[:shift]
        for name in order if number % 2 else reversed(order):
            if meter is not None:
                meter.reset()
            times.busy[name][number], times.wall[name][number], _ = one_step(arms[name])
            if meter is not None:
                times.layers[name][number] = meter.seconds
        if told is not None:
            told(number + 1, times)
    return times
