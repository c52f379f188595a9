"""Which rows of a model call are conditional, and which image each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class RowCounter:
    """A1111: one evaluation has all conditional rows first (image 0's AND parts, image 1's, ...), then the others.

    The host may cut it into several calls, or leave the others out, but always walks the rows in order. An extension
    may make several model calls of one of the host's: all of its rows for one tile of the picture, then for the next;
    or the conditional ones and then the others.
    """

    def __init__(self) -> None:
        self._images: list[int] = []  # image of each conditional row of the evaluation
        self._next = 0  # row of the evaluation at which the next call of the host begins
        self._call: list[int | None] = []  # image of each row of the host's call, None for the others
        self._at = 0  # row of the host's call at which the next model call begins

    def begin(self, conds_list: Sequence[Sequence[tuple[int, float]]]) -> None:
        """A new evaluation. ``conds_list``: for each image its (conditional row, weight) pairs."""
        rows = {row: image for image, parts in enumerate(conds_list) for row, _ in parts}
        self._images = [rows[row] for row in sorted(rows)]
        self._next, self._call, self._at = 0, [], 0

    def host_call(self, count: int) -> None:
        """The host asks for the next ``count`` rows."""
        rows = range(self._next, self._next + count)
        self._call = [self._images[row] if row < len(self._images) else None for row in rows]
        self._next, self._at = self._next + count, 0

    def take(self, count: int) -> list[tuple[int, int]]:
        """(row of this model call, image) of its conditional rows. ValueError where it fits no part of the host's."""
        size, at = len(self._call), self._at
        whole = size > 0 and at == 0 and count % size == 0  # once, or tile after tile
        if not whole and at + count > size:
            raise ValueError(f"a model call has {count} rows; allowed: a part of the host's {size}, or a multiple")
        self._at = (at + count) % size
        images = [self._call[(at + row) % size] for row in range(count)]
        return [(row, image) for row, image in enumerate(images) if image is not None]


def rows_of_options(options: Mapping[str, Any], rows: int) -> list[tuple[int, int]]:
    """As chunk_rows, from the ``transformer_options`` of a call; [] for one that is no evaluation of the sampler."""
    if "cond_or_uncond" not in options or "sigmas" not in options:
        return []
    return chunk_rows(options["cond_or_uncond"], len(options["sigmas"]), rows)


def chunk_rows(cond_or_uncond: Sequence[int], images: int, rows: int) -> list[tuple[int, int]]:
    """Forge: (row, image) of the conditional rows of a call with ``rows`` rows.

    ``cond_or_uncond``: one entry per chunk of ``images`` rows, 0 for a conditional one. Tiled diffusion repeats all
    chunks once per tile. ValueError where the rows do not come out even.
    """
    whole = len(cond_or_uncond) * images
    if not whole or rows % whole:
        raise ValueError(f"a model call has {rows} rows; allowed: a multiple of {len(cond_or_uncond)} x {images}")
    return [(row, row % images) for row in range(rows) if cond_or_uncond[row % whole // images] == 0]
