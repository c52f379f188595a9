"""Where the negative features come from: one file per method, each answering the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from ..kept import as_index
from ..layers import Layer


@dataclass(frozen=True)
class RowGroup:
    """Rows of one model call that are computed together.

    ``rows``: row numbers in the call's batch, ``images``: the image of each. ``items``: for each row, what a branch
    needs to know (its own business, e.g. the place of its negative). ``key``: identifies the group's data within the
    branch.
    """

    rows: tuple[int, ...]
    images: tuple[int, ...]
    items: tuple[int, ...] = ()
    key: tuple[int, ...] = ()

    def covers(self, rows: int) -> bool:
        """Are these all of a call's ``rows``, in their order?"""
        return len(self.rows) == rows and self._in_order

    @cached_property
    def _in_order(self) -> bool:
        return self.rows == tuple(range(len(self.rows)))

    def where(self, device: torch.device) -> slice | Tensor:
        """The rows as an index; see as_index()."""
        return as_index(self.rows, device)


class Branch(Protocol):
    """A source of negative features. Stateless between runs: a Run makes its own."""

    kind: str  # of the layers it needs: "cross", "self", "joint"
    source: str  # the projection whose output it is shown: "to_q" or "to_v"

    def check(self, layers: Sequence[Layer]) -> None:
        """Before the run: raise a ValueError for what these layers cannot do."""
        ...

    def plan(self, rows: Sequence[tuple[int, int]]) -> list[RowGroup]:
        """Group (row, image) pairs of a model call; called once per call, on the CPU."""
        ...

    def features(self, layer: Layer, seen: Tensor, z_pos: Tensor, group: RowGroup) -> Tensor:
        """z_neg (rows, tokens, width) for the group's rows. ``seen``: output of the ``source`` projection, ``z_pos``
        the attention's own result, both (rows, tokens, width), heads merged."""
        ...

    def clear(self) -> None:
        """Drop everything cached."""
        ...
