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

# Rows, tokens, width. The kernel is for all sizes, but its threads are decided upon by those it is made with.
_EXAMPLE = (2, 4096, 1280)

Made = Callable[[list[Tensor]], Sequence[Tensor]]
_Kind = tuple[Any, ...]


class Direct:
    """``function``: of (rows, tokens, width) tensors, contiguous and of one shape, and some numbers, as tensors without
    dimensions; it returns a tuple of tensors, (rows, tokens, width) or (rows, tokens, 1), and may write into those that
    it was given. ``check``: told tensors, numbers, and what was made of them; raises where that is not what it should
    be."""

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], check: Callable[..., None]):
        self._function, self._check = function, check
        self._made: dict[_Kind, Made] = {}
        self._refused: set[_Kind] = set()
        self._sound: dict[_Kind, Made] = {}  # kinds and shapes

    def __call__(self, features: Sequence[Tensor], numbers: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """What ``function`` returns; None: it was not done. ``features``: (..., width)."""
        first, second = features[:2]
        shape = first.shape
        for x in features:
            if x.shape != shape or x.requires_grad or not x.is_contiguous():
                return None
        kind = (first.device, first.dtype, second.dtype, numbers[0].dtype)
        known = (*kind, shape)
        try:
            if len(shape) == 3:
                if known in self._sound:
                    return self._sound[known]([*features, *numbers])
                return self._first(kind, features, numbers)
            flat = [x.view(1, -1, shape[-1]) for x in features]
            made = self(flat, numbers)
            return None if made is None else [x.view(*shape[:-1], -1) for x in made]
        except Exception as error:  # whatever a compiler may say: there are other ways
            if not out_of_memory(error):
                self._refused.add(kind)
                self._sound = {name: made for name, made in self._sound.items() if name[: len(kind)] != kind}
            return None

    def _first(self, kind: _Kind, features: Sequence[Tensor], numbers: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """Of a shape that has not been met."""
        if kind in self._refused or not _fit(features[0]):
            return None
        made = self._made.get(kind)
        if made is None:
            made = self._made[kind] = self._make(features, numbers)
        results = made([*features, *numbers])
        self._check(features, numbers, results)
        known = (*kind, features[0].shape)
        self._sound[known] = made
        return results

    def _make(self, features: Sequence[Tensor], numbers: Sequence[Tensor]) -> Made:
        from torch._guards import TracingContext, tracing  # these take a while
        from torch._inductor import config
        from torch._inductor.compile_fx import compile_fx_inner
        from torch._inductor.decomposition import select_decomp_table
        from torch.func import functionalize
        from torch.fx.experimental.proxy_tensor import make_fx

        def example(x: Tensor, *shape: int) -> Tensor:
            return torch.empty(shape, dtype=x.dtype, device=x.device)

        # without what it is said to return: torch's cache cannot read a name for a type, and prints a traceback
        written = functionalize(lambda *args: self._function(*args), remove="mutations_and_views")
        with torch.inference_mode(False), torch.no_grad():
            examples = [*(example(x, *_EXAMPLE) for x in features), *map(example, numbers)]
            graph = make_fx(written, select_decomp_table(), tracing_mode="symbolic")(*examples)
            symbolic = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
            # no pool of compiler processes that would outlive the run; no cache of graphs, in which torch 2.6 cannot
            # keep this one, and prints that (the cache of compiled code remains)
            wanted = {"compile_threads": 1, "fx_graph_cache": False}
            known = {name: value for name, value in wanted.items() if hasattr(config, name)}
            with config.patch(known), tracing(TracingContext(symbolic[0].fake_mode)):
                made: Made = compile_fx_inner(graph, symbolic)
        return made


def _fit(x: Tensor) -> bool:
    """Of a shape that does not vanish or repeat, on a device that code is made for."""
    return x.shape[:-1].numel() > 1 and x.shape[-1] > 1 and x.device.type in ("cpu", "cuda")
