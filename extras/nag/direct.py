"""A compiled function, called directly: torch.compile's checks before each call take as long as a small layer's rule.

The checks are this module's own: contiguous tensors of one shape, and every shape compared with the plain function when
it is first met. Where torch cannot make it, or makes it wrong, there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .errors import out_of_memory

# Tokens, width. The kernel is for all sizes, but its threads are decided upon by those it is made with.
_EXAMPLE = (4096, 1280)

Made = Callable[..., Any]
_Kind = tuple[Any, ...]


class Direct:
    """``function``: of three (tokens, width) tensors, one (2, tokens, 1), and some numbers, as tensors without
    dimensions; it writes into the third and the fourth. ``check``: told the three and the numbers afterwards, raises
    where the third is not what it should be."""

    def __init__(self, function: Callable[..., Any], check: Callable[..., None]):
        self._function, self._check = function, check
        self._made: dict[_Kind, Made] = {}
        self._refused: set[_Kind] = set()
        self._sound: set[_Kind] = set()  # kinds and shapes

    def __call__(self, features: Sequence[Tensor], lengths: Tensor, numbers: Sequence[Tensor]) -> bool:
        """Was it done? ``features``: three tensors of one shape, (..., width), ``lengths``: (2, ..., 1)."""
        first, second, third = features
        shape = first.shape
        kind = (first.device, first.dtype, second.dtype, numbers[0].dtype)
        if kind in self._refused or not _fit(first, second, third):
            return False
        try:
            flat = *(x.view(-1, shape[-1]) for x in features), lengths.view(2, -1, 1)
            made = self._made.get(kind)
            if made is None:
                made = self._made[kind] = self._make(flat, numbers)
            made(*flat, *numbers)
            if (*kind, shape) not in self._sound:
                self._check(*features, *numbers)
                self._sound.add((*kind, shape))
            return True
        except Exception as error:  # whatever a compiler may say: there are other ways
            if not out_of_memory(error):
                self._refused.add(kind)
            return False

    def _make(self, flat: Sequence[Tensor], numbers: Sequence[Tensor]) -> Made:
        from torch import _inductor  # these take a while
        from torch.fx.experimental.proxy_tensor import make_fx

        def like(x: Tensor, *shape: int) -> Tensor:
            return torch.empty(shape, dtype=x.dtype, device=x.device)

        with torch.inference_mode(False), torch.no_grad():
            tokens, width = _EXAMPLE
            examples = *(like(x, tokens, width) for x in flat[:3]), like(flat[3], 2, tokens, 1), *map(like, numbers)
            # without what it is said to return: torch's cache cannot read a name for a type, and prints a traceback
            graph = make_fx(lambda *args: self._function(*args), tracing_mode="symbolic")(*examples)
            symbolic = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
            # no pool of compiler processes that would outlive the run
            made: Made = _inductor.compile(graph, symbolic, options={"compile_threads": 1})
        return made


def _fit(first: Tensor, second: Tensor, third: Tensor) -> bool:
    """Of one shape that does not vanish or repeat, and as they lie in memory; on a device that code is made for."""
    shape = first.shape
    tokens, width = shape[:-1].numel(), shape[-1]
    return (
        tokens > 1
        and width > 1
        and first.device.type in ("cpu", "cuda")
        and all(x.shape == shape and x.is_contiguous() and not x.requires_grad for x in (first, second, third))
    )
