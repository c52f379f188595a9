"""What the methods with an extra prediction share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from ..layers import Layer
from ..part import Part, PartState, Rows
from ..schedule import Schedule
from .call import ModelCall
from .formula import push


@dataclass
class PredictionState(PartState):
    """``rows``: conditional rows of the call in progress. ``effects``: (step, |c' - c|_1 / |c|_1 on the device)."""

    rows: list[tuple[int, int]] = field(default_factory=list)
    effects: list[tuple[int, Tensor]] = field(default_factory=list)


class Prediction(Part):
    """A part whose hooks exist only while its own extra prediction is made."""

    def __init__(self, method: str, schedule: Schedule, layers: list[Layer], scale: float, strict: bool):
        self.state: PredictionState = PredictionState(strict=strict)
        super().__init__(method, schedule, layers, self.state)
        self.scale = scale

    def note_effect(self, before: Tensor, change: Tensor) -> None:
        """What this method alone does to the conditional prediction."""
        size = before.detach().float().abs().sum().clamp_min(1e-30)
        self.state.effects.append((self.state.step, change.detach().float().abs().sum() / size))

    def _plan(self, rows: Rows) -> None:
        self.state.rows = list(rows)

    def _forget_rows(self) -> None:
        self.state.rows = []

    def _rows_in_force(self) -> list[tuple[int, int]]:
        return self.state.rows

    def _put_back(self, kept: object) -> None:
        self.state.rows = list(kept) if isinstance(kept, list) else []

    def _clear(self) -> None:
        self.state.effects.clear()

    def _effects(self) -> list[tuple[int, Tensor]]:
        return list(self.state.effects)


class Perturbation(Prediction):
    """A prediction of a perturbed model, from which the picture is pushed away."""

    def term(self, call: ModelCall, w: float) -> Tensor:
        """(gamma / w) (t - p) of the formula, for the call's conditional rows."""
        t = call.conditional
        p = call.answers.get(self)
        if p is None:
            p = call.ask(range(len(call.rows)), lambda rows, total: self.perturbed(rows, total, call.seed_of))
        term = push(t, p, self.scale * self.state.strength, w)
        self.note_effect(t, term)
        return term

    @contextmanager
    def perturbed(self, rows: Rows, total: int, seed_of: Callable[[int], int]) -> Iterator[None]:
        """Hooks in the layers, for these rows of ``total``, while the model runs; they are removed whatever happens."""
        removers: list[Callable[[], None]] = []
        try:
            for layer in self.layers:
                removers += self._disturb(layer, rows, total, seed_of)
            yield
        finally:
            for remove in removers:
                remove()

    @abstractmethod
    def _disturb(
        self, layer: Layer, rows: Rows, total: int, seed_of: Callable[[int], int]
    ) -> Sequence[Callable[[], None]]:
        """Put this layer's hooks in place; returns what removes them."""


def moved(after: Tensor, before: Tensor) -> Tensor:
    """|after - before|_1 / |before|_1 on the device."""
    size = before.detach().float().abs().sum().clamp_min(1e-30)
    return (after.detach().float() - before.detach().float()).abs().sum() / size
