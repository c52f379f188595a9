"""How much guidance has changed: what is noted in each layer, and its sums, made for many layers at once.

A sum for each layer and step would be a launch each, and reading one would wait for the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

# Of each token, (..., 1): L1 norms of the change (yet to be multiplied by alpha) and of z_pos.
Lengths = tuple[Tensor, Tensor]


@dataclass(slots=True)
class Effect:
    """In one layer. ``noted``: lengths of which settle() has not yet made sums. The sums stay on the device until a run
    ends: the first are kept in ``totals``, from place ``at`` on, others in ``more``, as there is one of these for each
    layer and step, and Python's collector looks at every object."""

    noted: tuple[Lengths, ...] = ()
    totals: Tensor | None = None
    at: int = 0
    more: tuple[tuple[Tensor, int, int], ...] = ()
    share: float = 1.0  # what the change is yet to be multiplied by

    @property
    def sums(self) -> tuple[tuple[Tensor, int, int], ...]:
        """(totals, place in them of the change's, place of z_pos's)."""
        return self.more if self.totals is None else ((self.totals, self.at, self.at + 1), *self.more)


def settle(effects: Iterable[Effect]) -> None:
    """Make sums of all that was noted: one for each shape, type and device. Lengths need memory until then."""
    alike: dict[tuple[torch.Size, torch.dtype, torch.device], list[tuple[Effect, Lengths]]] = {}
    for effect in effects:
        for lengths in effect.noted:
            size = lengths[1]
            alike.setdefault((size.shape, size.dtype, size.device), []).append((effect, lengths))
        effect.noted = ()
    for noted in alike.values():
        totals = torch.stack([length for _, lengths in noted for length in lengths]).flatten(1).sum(1)
        for number, (effect, _) in enumerate(noted):
            if effect.totals is None:
                effect.totals, effect.at = totals, 2 * number
            else:
                effect.more += ((totals, 2 * number, 2 * number + 1),)


def read(effects: Iterable[Effect]) -> list[float]:
    """The relative change of each, 0 where there was nothing. Reads the device, once."""
    effects = list(effects)
    settle(effects)
    every = {id(totals): totals for effect in effects for totals, *_ in effect.sums}
    numbers: dict[int, list[float]] = {}
    if every:
        first = next(iter(every.values()))
        values = torch.cat([totals.detach().to(first.device, torch.float32) for totals in every.values()]).tolist()
        start = 0
        for name, totals in every.items():
            numbers[name] = values[start : start + len(totals)]
            start += len(totals)
    changes = []
    for effect in effects:
        moved = sum(numbers[id(totals)][at] for totals, at, _ in effect.sums)
        size = sum(numbers[id(totals)][at] for totals, _, at in effect.sums)
        changes.append(effect.share * moved / size if size else 0.0)
    return changes
