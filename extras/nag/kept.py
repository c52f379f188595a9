"""Small tensors that stay on a device: to make one there takes as long as what it is for, and to bring numbers there
holds the host up until they have arrived."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MOST = 512
_Kind = tuple[torch.device, torch.dtype, "float | tuple[int, ...]"]
_kept: dict[_Kind, Tensor] = {}


def kept(numbers: float | tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``numbers`` as a tensor, of one dimension or, where it is one number, of none. Not to be written to."""
    kind = (device, dtype, numbers)
    if kind in _kept:
        return _kept[kind]
    with torch.inference_mode(False):  # it outlives the mode it is made in
        if isinstance(numbers, tuple):
            made = torch.tensor(numbers, dtype=dtype).to(device, non_blocking=True)
        else:
            made = torch.full((), numbers, dtype=dtype, device=device)
    if _lasts(made):
        if len(_kept) >= _MOST:
            _kept.clear()
        _kept[kind] = made
    return made


def as_index(rows: Sequence[int], device: torch.device) -> Tensor | slice:
    """Rows as an index, at least one: a slice where they follow one another."""
    first, numbers = rows[0], tuple(rows)
    if len(numbers) == 1 or numbers == tuple(range(first, first + len(numbers))):
        return slice(first, first + len(numbers))
    return kept(numbers, torch.int64, device)


def rows_of(x: Tensor, rows: Sequence[int]) -> Tensor:
    """These rows of ``x``: a view where they follow one another."""
    return x[as_index(rows, x.device)]


def _lasts(made: Tensor) -> bool:
    """Has it numbers that will do for the next call? A FakeTensor has none; what is made while a CUDA graph is recorded
    has them only once that graph runs."""
    return type(made) is Tensor and not (
        made.is_cuda and torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    )
