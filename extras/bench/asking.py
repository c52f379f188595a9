"""What a step asks of the CPU: Python, hooks, and handing operators to torch.

A fast GPU waits for that: a step then takes as long as the CPU needs to ask for it, however little there is to compute.
Measured on a model with the same blocks and layers but almost no width, so that computing takes no time, on one
thread, in the ways that are taken on a GPU. What a launch costs beyond that is not in it.
"""

from __future__ import annotations

import statistics
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
from .timing import Spread, one_step, take_turns

COMPARED = (BASE, OFF, OUTSIDE, NAG, FUSED, NAG_PAG, PAG_FUSED, SHARED, DUPLICATE)
WARM = 3


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
    Spread of its ratios to the plain one}}, JSON-ready."""
    shape = SHAPES[name].thin()
    cpu = torch.device("cpu")
    with as_on_a_gpu():
        subject = Subject(shape, build(shape, cpu, torch.float32), cpu, torch.float32, 64, tokens=shape.tokens)
        every = arms.arms(subject, COMPARED)
        try:
            guided = every[NAG]
            assert isinstance(guided, arms.Guided)
            layers = len(guided.guidance.runs[0].layers)
            for _ in range(WARM):
                for arm in every.values():
                    one_step(arm)
            times = take_turns(every, rounds)
        finally:
            for arm in every.values():
                arm.close()
    return {
        "layers": layers,
        "rounds": rounds,
        "seconds": statistics.median(times.busy[BASE].values()),
        "steps": {step: asdict(Spread.of(times.ratios(step))) for step in every},
    }
