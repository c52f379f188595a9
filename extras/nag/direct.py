"""A compiled function on a CPU, called directly: what torch.compile checks before each call takes as long there as a
small layer's rule.

The checks are this module's own: flat, contiguous tensors of one shape, and every shape compared with the plain
function when it is first met. Where torch cannot make it, or makes it wrong, there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# Tokens, width. The kernel is for all sizes, but its threads are decided upon by those it is made with.
_EXAMPLE = (4096, 1280)

Made = Callable[..., "Sequence[Tensor]"]
_Kind = tuple[torch.dtype, ...]


class Direct:
    """``function``: of three (tokens, width) tensors and some numbers, as tensors without dimensions; it writes into
    the third. ``check``: told the same afterwards, raises where the third is not what it should be."""

    def __init__(self, function: Callable[..., Any], check: Callable[..., None]):
        self._function, self._check = function, check
        self._made: dict[_Kind, Made] = {}
        self._refused: set[_Kind] = set()
        self._sound: set[tuple[_Kind, torch.Size]] = set()

    def __call__(self, *args: Tensor) -> Sequence[Tensor] | None:
        """What the function returns; None: not possible."""
        kind = tuple(x.dtype for x in args)
        if kind in self._refused or not self._fits(args):
            return None
        try:
            if kind not in self._made:
                self._made[kind] = self._make(kind)
            found = self._made[kind](*args)
            if (kind, args[0].shape) not in self._sound:
                self._check(*args)
                self._sound.add((kind, args[0].shape))
            return found
        except Exception:  # whatever a compiler may say: there are other ways
            self._refused.add(kind)
            return None

    @staticmethod
    def _fits(args: Sequence[Tensor]) -> bool:
        shape = args[0].shape
        flat = len(shape) == 2 and min(shape) > 1
        return flat and all(
            x.device.type == "cpu" and x.is_contiguous() and not x.requires_grad and x.shape == (shape if i < 3 else ())
            for i, x in enumerate(args)
        )

    def _make(self, kind: _Kind) -> Made:
        from torch import _inductor  # these take a while
        from torch.fx.experimental.proxy_tensor import make_fx

        with torch.inference_mode(False), torch.no_grad():
            like = [torch.empty(_EXAMPLE if i < 3 else (), dtype=dtype) for i, dtype in enumerate(kind)]
            # without what it is said to return: torch's cache cannot read a name for a type, and prints a traceback
            graph = make_fx(lambda *args: self._function(*args), tracing_mode="symbolic")(*like)
            symbolic = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
            # no pool of compiler processes that would outlive the run
            made: Made = _inductor.compile(graph, symbolic, options={"compile_threads": 1})
        return made
