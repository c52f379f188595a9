"""One generation: begin -> step -> call -> ... -> close -> report.

A host creates a Run, says which sampler grid is coming, gives the encoded negatives, and before each model
call where in the sampling it stands and which rows are conditional. The hooks exist only while a guided step
is in progress; close() always removes them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn

from .branches.text import TextBranch
from .layers import Layer, LayerError, find_layers, select
from .report import NOTHING_GUIDED, Report
from .schedule import Resolved
from .settings import Settings
from .taps import CallState, Tap, remove_leftovers

__all__ = ["LayerError", "Run"]


class Run:
    """Guidance of one generation.

    ``model``: a UNet, or a module with one in it. ``resolved``: the schedule on the sampler's grid, or None
    until begin(). ``strict``: True lets an error of guidance end the model call; False (hosts) switches
    guidance off for the rest of the run and reports it. Raises LayerError if the model has no such layers.
    """

    def __init__(
        self, settings: Settings, model: nn.Module, resolved: Resolved | None = None, strict: bool = False
    ):
        self.settings, self.model, self.resolved = settings, model, resolved
        self.branch = TextBranch()
        self.layers: list[Layer] = select(find_layers(model), settings.layers, self.branch.kind)
        self.leftovers = remove_leftovers(model)
        self.state = CallState(self.branch, settings.scale, settings.tau, settings.alpha, strict)
        self.warnings: list[str] = list(resolved.warnings) if resolved else []
        self.closed = self.skipped = False
        self.cfg_factor = 1.0
        self._taps = [Tap(layer, self.state) for layer in self.layers]
        self._open = False
        self._last_key: Hashable = None
        self._evaluations: list[tuple[int, float, float]] = []  # (index, strength, cfg factor) of each
        self._forwards = 0
        self._report: Report | None = None
        self._began = time.perf_counter()

    # -- before sampling ---

    def begin(self, schedule_times: Sequence[float], sigmas: Sequence[float] | None = None) -> list[str]:
        """Resolve the schedule on the sampler's grid (see Schedule.resolve); returns warnings to show."""
        self.resolved = self.settings.schedule().resolve(schedule_times, sigmas)
        self.warnings = [w for w in self.warnings if w not in self.resolved.warnings] + self.resolved.warnings
        return self.resolved.warnings

    def set_negative(self, contexts: Tensor | Sequence[Tensor], key: Hashable = None) -> None:
        """The encoded negatives: a (tokens, channels) tensor per image, or one (images, tokens, channels);
        one serves all. May be called again when a prompt schedule moves on. ``key``: see
        TextBranch.set_contexts. ValueError if they do not fit the model."""
        want = getattr(self.layers[0].attn.to_k, "in_features", None)
        width = (
            contexts.shape[-1]
            if isinstance(contexts, Tensor)
            else contexts[0].shape[-1]
            if len(contexts)
            else want
        )
        if want is not None and width != want:
            raise ValueError(
                f"negative is {width} wide; this model's layers take {want}: encode it with its own encoder"
            )
        self.branch.set_contexts(contexts, key)

    # -- while sampling ---

    def step_at(self, t: float, key: Hashable = None) -> None:
        """step() for a model call at train timestep ``t``, by the resolved schedule."""
        if self.resolved is None:
            raise ValueError("the schedule is not resolved; begin() comes before the first step")
        strength, factor = self.resolved.strength_at(t)
        self.step(strength, factor, self.resolved.step_at(t) - 1, key)

    def step(
        self, strength: float, cfg_factor: float = 1.0, index: int | None = None, key: Hashable = None
    ) -> None:
        """Once per model evaluation of the sampler. ``strength``: 0..1, 0 removes all hooks. ``index``:
        sampler step from 0 (default: one further each time). ``key``: the same key again is the same
        evaluation: ignored."""
        if self.closed or (key is not None and key == self._last_key):
            return
        self._last_key = key
        if index is None:
            index = self._evaluations[-1][0] + 1 if self._evaluations else 0
        self._evaluations.append((index, float(strength), float(cfg_factor)))
        self.cfg_factor = float(cfg_factor)
        self.state.step, self.state.strength, self.state.groups = index, float(strength), []
        if strength > 0 and self.state.error is None and not self.skipped:
            self._install()
        else:
            self._remove()

    @property
    def acting(self) -> bool:
        """True while the current step is guided: hooks are in place, calls are to be told."""
        return self._open

    def call(self, rows: Sequence[tuple[int, int]]) -> None:
        """Before each forward of the model: the conditional rows of its batch as (row, image) pairs; [] for
        none."""
        state = self.state
        state.groups = []
        if not self._open or state.error is not None or not rows:
            return
        try:
            state.groups = self.branch.plan(rows)
        except Exception as error:
            if state.strict:
                raise
            self.fail(error)
            return
        state.batch = 1 + max(row for row, _ in rows)
        self._forwards += 1

    def cfg_scale(self, cfg: float) -> float:
        """The CFG scale of the current step: lowered in the cooldown, never below 1 by that."""
        return cfg if self.cfg_factor == 1.0 or cfg <= 1.0 else max(1.0, cfg * self.cfg_factor)

    def warn(self, text: str) -> None:
        """Add a warning to the report; the same one once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def skip(self, reason: str) -> None:
        """Guide nothing in this run, for a reason the report tells."""
        self.skipped = True
        self.warn(f"nothing is guided: {reason}")
        self._remove()

    def fail(self, error: BaseException) -> None:
        """Switch guidance off for the rest of the run and say why in the report."""
        self.state.error = self.state.error or error
        self._remove()

    # -- after sampling ---

    def close(self) -> Report:
        """Remove everything and report. Any number of times, at any moment."""
        self._remove()
        self.closed = True
        if self._report is None:
            try:
                self._report = self._make_report()
                self.branch.clear()
                self.state.changes.clear()
            except Exception as error:  # the account has failed, not the picture
                self.state.error = self.state.error or error
                told = f"{type(self.state.error).__name__}: {self.state.error}"
                self._report = Report(layers=len(self.layers), warnings=self.warnings, error=told)
        return self._report

    @property
    def report(self) -> Report:
        """The account so far; final after close()."""
        return self._report or self._make_report()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside ---

    def _install(self) -> None:
        if not self._open:
            self._open = True
            for tap in self._taps:
                tap.install()

    def _remove(self) -> None:
        for tap in self._taps:
            tap.remove()
        self._open = False
        self.state.groups = []

    def _make_report(self) -> Report:
        changes = self.state.changes
        # The one place where measurements leave the device.
        values = torch.stack([c.double() for *_, c in changes]).tolist() if changes else []
        report = Report(layers=len(self.layers), calls=len(values), forwards=self._forwards)
        report.seconds = time.perf_counter() - self._began
        report.steps = len(self.resolved.times) if self.resolved else len({i for i, *_ in self._evaluations})
        report.schedule = self.resolved.describe() if self.resolved else ""
        if not all(map(math.isfinite, values)):
            self.warn("the model's features were not finite in some guided calls")
            values = [v if math.isfinite(v) else 0.0 for v in values]
        report.mean_change = _mean(values)
        by_step: dict[int, list[float]] = {}
        by_layer: dict[int, list[float]] = {}
        for (step, number, _), value in zip(changes, values, strict=True):
            by_step.setdefault(step, []).append(value)
            by_layer.setdefault(number, []).append(value)
        report.guided_steps = [step + 1 for step in sorted(by_step)]
        strongest: dict[int, tuple[int, float, float]] = {}  # of a step's evaluations
        for evaluation in self._evaluations:
            known = strongest.setdefault(evaluation[0], evaluation)
            if evaluation[1] > known[1]:
                strongest[evaluation[0]] = evaluation
        for step, strength, factor in sorted(strongest.values()):
            of = by_step.get(step, [])
            line = {"step": step + 1, "strength": strength, "cfg_factor": factor, "calls": len(of)}
            report.per_step.append(line | {"change": _mean(of)})
        for layer in self.layers:
            of = by_layer.get(layer.index, [])
            entry = {"notation": layer.notation, "calls": len(of), "change": _mean(of)}
            report.per_layer[layer.name] = entry
        report.warnings = self.warnings + self._own_warnings(report)
        if self.state.error is not None:
            report.error = f"{type(self.state.error).__name__}: {self.state.error}"
        return report

    def _own_warnings(self, report: Report) -> list[str]:
        told = []
        if self.leftovers:
            told.append(f"{self.leftovers} hooks of an earlier run were still there and have been removed")
        if self.state.missed:
            name, count = next(iter(self.state.missed.items()))
            told.append(
                f"{len(self.state.missed)} layers could not be guided (e.g. {name}, {count} calls): "
                "their attention bypasses to_q or changes the batch"
            )
        planned = self.resolved is None or self.resolved.guided_steps
        neutral = self.settings.scale == 1 or self.settings.alpha == 0
        if neutral:
            told.append(
                f"scale {self.settings.scale:g}, alpha {self.settings.alpha:g} leave the picture unchanged"
            )
        if not report.calls and planned and self.state.error is None and not self.skipped:
            told.append(NOTHING_GUIDED)
        return told


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
