"""What every method of a generation shares: its window, its rows, its errors, its account.

A part is one method at work: begin -> step -> call -> ... -> close -> report. Its hooks exist only while a step of
its own window is in progress; close() always removes them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from torch import Tensor

from .account import Account, Change, Evaluation
from .actmap import ActMap
from .effect import Effect, settle
from .errors import without_frames
from .fused import FusedRule
from .layers import Layer
from .report import ENDED_EARLY, NO_STEP, NOTHING_GUIDED, Report
from .schedule import Resolved, Schedule, lowered_cfg

Rows = Sequence[tuple[int, int]]  # (row of the call's batch, image) pairs
P = TypeVar("P", bound="Part")


@dataclass(kw_only=True)
class PartState:
    """What hooks read at each call; the part writes it, once per step and model call.

    ``total``: rows of the model call, where the host tells. ``changes``: (step, layer index, relative change on the
    device), read once at the end. ``missed``: layer name -> calls in which the layer was out of reach. ``counting``:
    False in an extra prediction of another method. ``map``: of where it acts, if asked for. ``kernel``: of the rule, if
    asked for. ``settled``: so many of the changes settle() has seen.
    """

    strict: bool = False
    strength: float = 0.0
    step: int = 0
    counting: bool = True
    total: int | None = None
    changes: list[Change] = field(default_factory=list)
    missed: dict[str, int] = field(default_factory=dict)
    error: BaseException | None = None
    map: ActMap | None = None
    kernel: FusedRule | None = None
    settled: int = 0

    def note(self, layer: Layer, change: Tensor | Effect) -> None:
        """Remember what happened in a layer."""
        if self.counting:
            self.changes.append((self.step, layer.index, change))

    def settle(self) -> None:
        """Make sums of what was noted in the calls so far: until then it takes memory. An error is the run's."""
        first, self.settled = self.settled, len(self.changes)
        try:
            settle(change for *_, change in self.changes[first:] if isinstance(change, Effect))
        except Exception as error:
            self.failed(error)

    def draw(self, rows: Sequence[int], out: Tensor, z_pos: Tensor) -> None:
        """Into the map: features (rows, tokens, width) of the image's tokens, of these rows of the call."""
        if self.map is not None and self.counting:
            self.map.add(rows, out, z_pos)

    def failed(self, error: Exception) -> None:
        """In a hook: the user's picture goes on without us, the run tells; where it is strict, the error goes on."""
        if self.strict:
            raise error
        self.error = without_frames(error)

    def miss(self, layer: Layer) -> None:
        """The layer could not be reached in this call."""
        self.missed[layer.name] = self.missed.get(layer.name, 0) + 1


class Part:
    """Base of Run and of the predictions. ``method``: its name in reports. ``resolved``: the schedule on the
    sampler's grid, or None until begin(). ``state.strict``: True lets an error of guidance end the model call; False
    (hosts) switches the method off for the rest of the run and reports it."""

    def __init__(self, method: str, schedule: Schedule, layers: list[Layer], state: PartState):
        self.method, self.schedule, self.layers = method, schedule, layers
        self.state: PartState = state
        self.resolved: Resolved | None = None
        self.warnings: list[str] = []
        self.closed = self.skipped = False
        self.cfg_factor = 1.0
        self._open = False
        self._last_key: Hashable = None
        self.account = Account()
        self._report: Report | None = None

    # -- before sampling ---

    def begin(self, schedule_times: Sequence[float], sigmas: Sequence[float] | None = None) -> list[str]:
        """Resolve the schedule on the sampler's grid (see Schedule.resolve); returns warnings to show."""
        self.resolved = self.schedule.resolve(schedule_times, sigmas)
        self.warnings = [w for w in self.warnings if w not in self.resolved.warnings] + self.resolved.warnings
        return self.resolved.warnings

    # -- while sampling ---

    def step_at(self, t: float, key: Hashable = None) -> None:
        """step() for a model call at train timestep ``t``, by the resolved schedule."""
        if self.resolved is None:
            raise ValueError("the schedule is not resolved; begin() comes before the first step")
        strength, factor = self.resolved.strength_at(t)
        self.step(strength, factor, self.resolved.step_at(t) - 1, key)

    def step(self, strength: float, cfg_factor: float = 1.0, index: int | None = None, key: Hashable = None) -> None:
        """Once per model evaluation of the sampler. ``strength``: 0..1, 0 removes all hooks. ``index``: sampler step
        from 0 (default: one further each time). ``key``: the same key again is the same evaluation: ignored."""
        if self.closed or (key is not None and key == self._last_key):
            return
        self._last_key = key
        if index is None:
            index = self.account.next_index
        self.account.evaluations.append(Evaluation(index, float(strength), float(cfg_factor)))
        self.cfg_factor = float(cfg_factor)
        self.state.step, self.state.strength = index, float(strength)
        self._forget_rows()
        if strength > 0 and self.state.error is None and not self.skipped:
            if not self._open:
                self._open = True
                self._install()
        else:
            self._close_hooks()

    @property
    def needs_negative(self) -> bool:
        """True where the method wants the NAG negative prompt."""
        return False

    @property
    def acting(self) -> bool:
        """True while the current step is guided: hooks are in place, calls are to be told."""
        return self._open

    def call(self, rows: Rows, total: int | None = None) -> None:
        """Before each forward of the model: the conditional rows of its batch as (row, image) pairs; [] for none.
        ``total``: all its rows; a layer that sees another number of them cannot be guided."""
        state = self.state
        state.total = total
        self._forget_rows()
        if state.settled < len(state.changes):
            state.settle()
        if not self._open or state.error is not None or not rows:
            return
        try:
            self._plan(rows)
        except Exception as error:
            if state.strict:
                raise
            self.fail(error)
            return
        self.account.forwards += 1

    def cfg_scale(self, cfg: float) -> float:
        """The CFG scale of the current step: lowered in the cooldown, never below 1 by that."""
        return lowered_cfg(cfg, self.cfg_factor)

    def expects(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The arguments of the model call that is about to run, for a method that needs them."""

    @contextmanager
    def rerouted(self, rows: Rows, counting: bool = False) -> Iterator[None]:
        """For an extra prediction of another method: act on these rows of its batch, count nothing unless told to."""
        kept, total = self._rows_in_force(), self.state.total
        self.state.counting, self.state.total = counting, None
        try:
            if self._open and kept and self.state.error is None:
                self._plan(rows)
            yield
        finally:
            self.state.counting, self.state.total = True, total
            self._put_back(kept)

    def warn(self, text: str) -> None:
        """Add a warning to the report; the same one once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def skip(self, reason: str) -> None:
        """Guide nothing in this run, for a reason the report tells."""
        self.skipped = True
        self.warn(f"nothing is guided: {reason}")
        self._close_hooks()

    def pause(self) -> None:
        """No hook until the next step."""
        self._close_hooks()

    def fail(self, error: BaseException) -> None:
        """Switch the method off for the rest of the run and say why in the report."""
        self.state.error = self.state.error or without_frames(error)
        self._close_hooks()

    # -- after sampling ---

    def close(self) -> Report:
        """Remove everything and report. Any number of times, at any moment."""
        self._close_hooks()
        self.closed = True
        if self._report is None:
            try:
                self._report = self._make_report()
                self._clear()
                self.state.changes.clear()
            except Exception as error:  # the account has failed, not the picture
                self.state.error = self.state.error or error
                told = f"{type(self.state.error).__name__}: {self.state.error}"
                self._report = Report(layers=len(self.layers), warnings=self.warnings, error=told, method=self.method)
        return self._report

    @property
    def report(self) -> Report:
        """The account so far; final after close()."""
        return self._report or self._make_report()

    def __enter__(self: P) -> P:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what a method says of itself ---

    def _install(self) -> None:
        """Put the hooks in place; removed by _remove()."""

    def _remove(self) -> None:
        """Take the hooks away; harmless when there are none."""

    def _plan(self, rows: Rows) -> None:
        """Remember the rows of the coming call."""
        raise NotImplementedError

    def _forget_rows(self) -> None:
        """There is no call in progress."""

    def _rows_in_force(self) -> object:
        """What _plan() remembered; false where there are none."""
        raise NotImplementedError

    def _put_back(self, kept: object) -> None:
        """Take this as if _plan() had remembered it."""
        raise NotImplementedError

    def _clear(self) -> None:
        """Drop what is cached."""

    def _effects(self) -> Sequence[tuple[int, Tensor | Effect]]:
        """(step, relative change) of each guided call: what the report counts."""
        return [(step, change) for step, _, change in self.state.changes]

    def _neutral(self) -> str:
        """Why the settings cannot change the picture, or ""."""
        return ""

    # -- inside ---

    def _close_hooks(self) -> None:
        self._open = False
        error = undo([self._remove, self._forget_rows])
        self.state.error = self.state.error or error

    def _make_report(self) -> Report:
        report = self.account.report(self.method, self.layers, self.resolved, self._effects(), self.state.changes)
        for text in report.warnings:
            self.warn(text)
        report.warnings = self.warnings + self._own_warnings(report)
        if self.state.error is not None:
            report.error = f"{type(self.state.error).__name__}: {self.state.error}"
        return report

    def _own_warnings(self, report: Report) -> list[str]:
        told = []
        if self.state.kernel is not None and self.state.kernel.note:
            told.append(self.state.kernel.note)
        if self.state.missed:
            name, count = next(iter(self.state.missed.items()))
            told.append(
                f"{len(self.state.missed)} layers could not be guided (e.g. {name}, {count} calls): "
                "their attention bypasses its projections or changes the batch"
            )
        neutral = self._neutral()
        if neutral:
            told.append(neutral)
        planned = self.resolved is None or self.resolved.guided_steps
        if not report.calls and planned and self.state.error is None and not self.skipped:
            guided = any(evaluation.strength > 0 for evaluation in self.account.evaluations)
            told.append(NOTHING_GUIDED if guided else ENDED_EARLY if self.account.evaluations else NO_STEP)
        return told


def undo(actions: Iterable[Callable[[], object]]) -> Exception | None:
    """Do all of these, whatever becomes of one: undoing never ends a picture. Returns the first error."""
    first: Exception | None = None
    for action in actions:
        try:
            action()
        except Exception as error:
            first = first or error
    return first


def raise_first(error: Exception | None) -> None:
    """Tell, once all is undone."""
    if error is not None:
        raise error
