"""What a step asks of the CPU: Python, hooks, and handing operators to torch.

A fast GPU waits for that: a step then takes as long as the CPU needs to ask for it, however little there is to compute.
Measured on a model with the same blocks and layers but almost no width, so that computing takes no time, on one
thread, in the ways that are taken on a GPU. What a launch costs beyond that is not in it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from extras.nag import fused, maths, taps
from extras.nag.branches import padding
from extras.nag.direct import Direct

from . import arms
from .arms import BASE, DUPLICATE, FUSED, NAG, NAG_PAG, OFF, OUTSIDE, PAG_FUSED, SHARED
from .shapes import SHAPES, Subject, build
from .timing import Spread

WARM = 3
COMPARED = (BASE, OFF, OUTSIDE, NAG, FUSED, NAG_PAG, PAG_FUSED, SHARED, DUPLICATE)


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Within, a CPU takes the ways of a GPU, on one thread; what is compiled meanwhile is not met outside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            patch.object(padding, "_MASKS_ARE_FAST", False),
            patch.object(taps, "_on_cpu", lambda module: False),
            patch.object(maths, "_length", _length),
            patch.object(fused, "_direct", Direct(fused._written, fused._compare)),
            patch.object(fused, "_direct_into", Direct(fused._written_into, fused._compare)),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


def _length(x: Tensor, spare: Tensor | None, into: Tensor | None = None) -> Tensor:
    return torch.linalg.vector_norm(x, 1, -1, keepdim=True, out=into)


def asked(name: str, rounds: int) -> dict[str, Any]:
    """Of a UNet of SHAPES: {"layers": how many NAG guides, "rounds", "seconds" of the plain step, "steps": {step ->
    Spread of its ratios to the plain one of the same round}}, JSON-ready."""
    shape = SHAPES[name].thin()
    cpu = torch.device("cpu")
    with as_on_a_gpu():
        subject = Subject(shape, build(shape, cpu, torch.float32), cpu, torch.float32, 64, tokens=shape.tokens)
        every = arms.arms(subject, COMPARED)
        try:
            guided = every[NAG]
            assert isinstance(guided, arms.Guided)
            layers = len(guided.guidance.runs[0].layers)
            seconds: dict[str, list[float]] = {name: [] for name in every}
            for number in range(WARM + rounds):
                names = list(every)
                for way in names[number % len(names) :] + names[: number % len(names)]:
                    seconds[way].append(_second_of_two(every[way]))
        finally:
            for arm in every.values():
                arm.close()
    plain = seconds[BASE][WARM:]
    ratios = {way: [s / p for s, p in zip(seconds[way][WARM:], plain, strict=True)] for way in every}
    return {
        "layers": layers,
        "rounds": rounds,
        "seconds": statistics.median(plain),
        "steps": {way: asdict(Spread.of(ratios[way])) for way in every},
    }


def _second_of_two(arm: arms.Arm) -> float:
    """Processor seconds of a step that follows one of its kind, as steps do."""
    arm.ready()
    try:
        arm.step()
        begun = time.process_time()
        arm.step()
        return time.process_time() - begun
    finally:
        arm.rest()
