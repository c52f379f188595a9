"""Which rows of a model call are conditional, and which image each belongs to."""

from __future__ import annotations

from collections.abc import Sequence


class RowCounter:
    """A1111: one evaluation has all conditional rows first (image 0's AND parts, image 1's, ...), then the others.

    The host may cut it into several model calls, or leave the others out, but always walks the rows in order: a
    counter over the calls gives each row's role.
    """

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


def chunk_rows(cond_or_uncond: Sequence[int], images: int, rows: int) -> list[tuple[int, int]]:
    """Forge: (row, image) of the conditional rows of a call with ``rows`` rows.

    ``cond_or_uncond``: one entry per chunk of ``images`` rows, 0 for a conditional one. Tiled diffusion repeats all
    chunks once per tile. ValueError where the rows do not come out even.
    """
    whole = len(cond_or_uncond) * images
    if not whole or rows % whole:
        raise ValueError(f"a model call has {rows} rows; allowed: a multiple of {len(cond_or_uncond)} x {images}")
    return [(row, row % images) for row in range(rows) if cond_or_uncond[row % whole // images] == 0]
