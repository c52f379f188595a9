"""A1111: which rows of a model call are conditional, and which image each belongs to.

One evaluation of the sampler has all conditional rows first (image 0's AND parts, image 1's, ...), then the
others. The host may cut it into several model calls, or leave the others out, but always walks the rows in
order: a counter over the calls gives each row's role.
"""

from __future__ import annotations

from collections.abc import Sequence


class RowCounter:
    """Rows of one evaluation after another."""

    def __init__(self) -> None:
        self._images: list[int] = []  # image of each conditional row
        self._next = 0

    def begin(self, conds_list: Sequence[Sequence[tuple[int, float]]]) -> None:
        """A new evaluation. ``conds_list``: for each image its (conditional row, weight) pairs."""
        rows = {row: image for image, parts in enumerate(conds_list) for row, _ in parts}
        self._images = [rows[row] for row in sorted(rows)]
        self._next = 0

    def take(self, count: int) -> list[tuple[int, int]]:
        """(row of this call, image) of the conditional ones among the next ``count`` rows."""
        first, self._next = self._next, self._next + count
        mine = range(first, min(self._next, len(self._images)))
        return [(row - first, self._images[row]) for row in mine]
