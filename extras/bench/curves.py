"""The guided step against the plain one as one thing changes: tokens, batch, resolution, layers, share of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import arms
from .arms import BASE, NAG, Arm, Guided
from .meter import Meter
from .shapes import Subject
from .timing import Spread, one_step, take_turns

Point = dict[str, Any]
TOKENS = (77, 154, 308, 616)
BATCHES = (1, 2, 4)
SHARES = (0.25, 0.5, 0.75, 1.0)


class Generation(Guided):
    """A step that stands for four: all of a generation of four steps, of which the window takes a share."""

    def step(self) -> Any:
        out = None
        for t in arms.TIMES:
            self.t = t
            out = super().step()
        return out


class PlainGeneration(Arm):
    """The same without us."""

    def step(self) -> Any:
        return [self.subject.forward() for _ in arms.TIMES][-1]


def curves(subject: Subject, rounds: int, said: Callable[[str], None] = lambda text: None) -> dict[str, list[Point]]:
    """For a UNet: name of what changes -> points with ``at``, ``ratio`` and its quartiles."""
    small = subject.resolution

    def changed(**values: Any) -> Subject:
        return replace(subject, **values)

    def measured(at: float, guided: Arm, plain: Arm) -> Point:
        one_step(guided)  # keys and values of the negative
        meter = Meter(subject.model) if subject.device.type == "cpu" else None
        times = take_turns({BASE: plain, NAG: guided}, rounds, meter=meter)
        found = times.spread(NAG)
        if meter is not None:
            found = Spread.of(times.by_layers(NAG, "cross"))
            meter.close()
        guided.close()
        said(f"{at:g}: {found.median:.3f}")
        return {"at": at, "ratio": found.median, "low": found.low_quartile, "high": found.high_quartile}

    def of(other: Subject, at: float, **settings: Any) -> Point:
        return measured(at, arms.nag(other, **settings), Arm(BASE, other))

    made: dict[str, list[Point]] = {}
    made["tokens"] = [of(changed(tokens=n), n) for n in TOKENS]
    made["batch"] = [of(changed(batch=n), n) for n in BATCHES]
    made["resolution"] = [of(changed(resolution=n), n) for n in sorted({small // 2, small, small * 3 // 2})]
    every = arms.nag(subject)
    names = [layer.notation for layer in every.guidance.runs[0].layers]
    every.close()
    counts = [len(names) * i // 4 for i in range(1, 5)]
    made["layers"] = [of(subject, n, layers=",".join(names[:n])) for n in counts]
    made["share of steps"] = [
        measured(
            share,
            Generation(NAG, subject, arms.settings(subject, unit="steps", start=0.0, end=share)),
            PlainGeneration(BASE, subject),
        )
        for share in SHARES
    ]
    return made
