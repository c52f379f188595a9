"""The account of one method: what it did, step by step and layer by layer, counted and measured as it did it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .effect import Effect, read
from .layers import Layer
from .report import Report
from .schedule import Resolved

Change = tuple[int, int, "Tensor | Effect"]  # step, layer (index), relative change on the device


class Evaluation(NamedTuple):
    """One of the sampler's, in ``step``, from 0."""

    step: int
    strength: float
    cfg_factor: float


@dataclass
class Account:
    """``forwards``: model calls in which some rows were guided."""

    evaluations: list[Evaluation] = field(default_factory=list)
    forwards: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def next_index(self) -> int:
        """One step further than the last evaluation's."""
        return self.evaluations[-1].step + 1 if self.evaluations else 0

    def report(
        self,
        method: str,
        layers: Sequence[Layer],
        resolved: Resolved | None,
        effects: Sequence[tuple[int, Tensor | Effect]],
        changes: Sequence[Change],
    ) -> Report:
        """``effects``: (step, relative change) of each guided call, what the report counts; ``changes``: of each layer.
        Reads the device, and warns where it finds no numbers."""
        values = _numbers([change for _, change in effects])
        of_layers = _numbers([change for *_, change in changes])
        report = Report(layers=len(layers), calls=len(values), forwards=self.forwards, method=method)
        if not all(map(math.isfinite, values + of_layers)):
            report.warnings.append("the model's features were not finite in some guided calls")
            values, of_layers = ([v if math.isfinite(v) else 0.0 for v in some] for some in (values, of_layers))
        report.seconds = time.perf_counter() - self.began
        report.steps = len(resolved.times) if resolved else len({e.step for e in self.evaluations})
        report.schedule = resolved.describe() if resolved else ""
        report.mean_change = _mean(values)
        by_step = _grouped(zip((step for step, _ in effects), values, strict=True))
        by_layer = _grouped(zip((number for _, number, _ in changes), of_layers, strict=True))
        report.guided_steps = [step + 1 for step in sorted(by_step)]
        for evaluation in self._strongest():
            of = by_step.get(evaluation.step, [])
            told = {"strength": evaluation.strength, "cfg_factor": evaluation.cfg_factor}
            report.per_step.append({"step": evaluation.step + 1, **told, "calls": len(of), "change": _mean(of)})
        for layer in layers:
            of = by_layer.get(layer.index, [])
            report.per_layer[layer.name] = {"notation": layer.notation, "calls": len(of), "change": _mean(of)}
        return report

    def _strongest(self) -> list[Evaluation]:
        """Of each step's evaluations, in the order of the steps."""
        found: dict[int, Evaluation] = {}
        for evaluation in self.evaluations:
            known = found.setdefault(evaluation.step, evaluation)
            if evaluation.strength > known.strength:
                found[evaluation.step] = evaluation
        return sorted(found.values())


def _numbers(changes: Sequence[Tensor | Effect]) -> list[float]:
    """Relative changes. The one place where measurements leave the device."""
    effects = iter(read([c for c in changes if isinstance(c, Effect)]))
    tensors = [c.detach().reshape(1) for c in changes if not isinstance(c, Effect)]
    others = iter(torch.cat([t.to(tensors[0].device, torch.float32) for t in tensors]).tolist() if tensors else [])
    return [next(effects if isinstance(c, Effect) else others) for c in changes]


def _grouped(pairs: Iterable[tuple[int, float]]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
