"""What the arithmetic alone demands: multiplications and additions counted on a model without weights."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from . import arms
from .shapes import Shape, Subject


@dataclass(frozen=True)
class Floor:
    """FLOPs of a step. ``once``: of a generation's first guided step alone (keys and values of the negative)."""

    base: int
    guided: int
    once: int
    duplicate: int

    @property
    def share(self) -> float:
        """What guidance adds to the plain step."""
        return (self.guided - self.base) / self.base

    def to_dict(self) -> dict[str, float]:
        duplicate = (self.duplicate - self.base) / self.base
        return {**asdict(self), "share": self.share, "duplicate_share": duplicate, "once_share": self.once / self.base}


def floor(shape: Shape, resolution: int, batch: int = 1, tokens: int = 0) -> Floor:
    """Counted, not measured."""
    subject = Subject(shape, shape.empty(), torch.device("meta"), torch.float32, resolution, batch, tokens)
    guided = arms.nag(subject)
    first, steady = _flops(guided), _flops(guided)
    duplicate: arms.Arm = (
        arms.PlainFlux(arms.DUPLICATE, subject)
        if shape.kind == "flux"
        else arms.Plain(arms.DUPLICATE, subject, arms.plain_unet.DuplicateBatch)
    )
    plain = _flops(duplicate) if subject.tokens == shape.tokens else 0
    return Floor(_flops(arms.Arm(arms.BASE, subject)), steady, first - steady, plain)


def _flops(arm: arms.Arm) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counter = FlopCounterMode(display=False)
    arm.ready()
    try:
        with counter:
            arm.step()
    finally:
        arm.rest()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Kept:
    """Bytes. ``cache``: keys and values of the negative in all layers. ``layer``: activations of the largest guided
    layer: its input, queries, attention and output."""

    cache: int
    layer: int


def kept(shape: Shape, resolution: int, dtype: torch.dtype, batch: int = 1, tokens: int = 0) -> Kept:
    """Of NAG on this model."""
    subject = Subject(shape, shape.empty(), torch.device("meta"), torch.float32, resolution, batch, tokens)
    guided = arms.nag(subject)
    size = torch.finfo(dtype).bits // 8
    seen: list[int] = []

    def see(module: Any, args: Any, output: Tensor) -> None:
        seen.append(output.numel() * size)

    run = guided.guidance.runs[0]
    for layer in run.layers:
        layer.attn.to_q.register_forward_hook(see)
    subject.forward()
    cached = sum(2 * subject.tokens * layer.width * size for layer in run.layers if layer.kind == "cross")
    return Kept(cached, 4 * max(seen, default=0))
