"""The rule of maths.py as one compiled kernel: Triton's on CUDA, C++ on a CPU, both by torch.compile.

In eager torch the rule is a dozen passes over the features; compiled it is about two, called directly where that can
be (direct.py). Where no kernel can be made (no compiler, no Triton, a torch too old for this Python) the eager
rule does the work, and ``note`` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .closeness import check_close
from .direct import Direct
from .errors import out_of_memory
from .kept import kept
from .layout import empty_as
from .maths import Done, rule, wide_type

# How far a kernel may be from the eager rule, relative to the largest result: what rounding makes of another order.
_CLOSE = {torch.float16: 2e-3, torch.bfloat16: 2e-2}

UNUSED = (
    "the fused kernel was not used: torch ran the rule as it is written "
    "(something watches its operations, or it has compiled the rule too often)"
)

_kernel: Callable[..., tuple[Tensor, Tensor]] | None = None  # one for all runs: compiling takes seconds
_sound: set[tuple[str, torch.dtype, torch.dtype]] = set()  # device and types for which it was compared
_refused = ""  # why no kernel is used in this process any more
_plain = 0  # how often torch ran the rule as it is written, although it was asked for the kernel


class FusedRule:
    """Called by normalized_guidance() in place of the eager rule. ``note``: why it was not used, or ""; for the
    report."""

    def __init__(self) -> None:
        self.note = ""

    def __call__(
        self, z_pos: Tensor, z_neg: Tensor, push: float | Tensor, tau: float, alpha: float, into: Tensor | None
    ) -> Done | None:
        """The guided features, in ``into`` if there is such, and the two lengths of maths.rule(); None: not possible.

        The first call for a device and dtype, for each shape where it is called directly, is compared with the eager
        rule (this waits for the device).
        """
        global _refused
        if not _refused:
            try:
                if _compiling():  # the host compiles the whole model, this hook with it
                    return None
                if _watched():
                    self.note = UNUSED
                    return None
                return self._compiled(z_pos, z_neg, push, tau, alpha, into)
            except Exception as error:  # whatever a compiler may say: guidance goes on without it
                if out_of_memory(error):
                    self.note = f"the fused kernel was not used in every call: {type(error).__name__}"
                    return None
                first = (str(error).strip().splitlines() or [""])[0]
                _refused = f"{type(error).__name__}: {first}"[:200]
        self.note = f"no fused kernel here, so the rule ran without ({_refused})"
        return None

    def _compiled(
        self, z_pos: Tensor, z_neg: Tensor, push: float | Tensor, tau: float, alpha: float, into: Tensor | None
    ) -> Done:
        wide, device = wide_type(z_pos, z_neg), z_pos.device
        numbers = [
            number if isinstance(number, Tensor) else kept(number, wide, device) for number in (push, tau, alpha)
        ]
        by_token = isinstance(push, Tensor)
        if not by_token and into is None:
            made = _direct((z_pos, z_neg), numbers)
            if made is not None:
                return made[0], (made[1], made[2])
        elif not by_token and into is not None:
            lengths = _direct_into((z_pos, z_neg, into), numbers)
            if lengths is not None:
                return into, (lengths[0], lengths[1])
        return self._by_the_compiler((z_pos, z_neg, empty_as(z_pos) if into is None else into), numbers, by_token)

    def _by_the_compiler(
        self, features: tuple[Tensor, Tensor, Tensor], numbers: Sequence[Tensor], by_token: bool
    ) -> Done:
        z_pos, z_neg, into = features
        tensors = features
        if not by_token and z_pos.shape == z_neg.shape and all(t.is_contiguous() for t in features):
            # one kernel for every batch and resolution
            tensors = tuple(t.view(-1, t.shape[-1]) for t in features)  # type: ignore[assignment]
        plain = _plain
        # detached: what a view is of would matter to the compiler
        moved, size = _by_torch()(*(t.detach() for t in tensors), *numbers)
        kind = (z_pos.device.type, z_pos.dtype, z_neg.dtype)
        if kind not in _sound:
            _compare(features, numbers, (moved, size))
            _sound.add(kind)
        if _plain > plain:
            self.note = UNUSED
        shape = (*z_pos.shape[:-1], 1)
        return into, (moved.view(shape), size.view(shape))


def _compiling() -> bool:
    """Whether torch compiles the code that asks. torch 2.1, which A1111 pins, has no name for it in torch.compiler."""
    ask: Callable[[], bool] = getattr(torch.compiler, "is_compiling", None) or torch._dynamo.is_compiling
    return ask()


def _watched() -> bool:
    """Whether a dispatch mode is on. A function first called under one is never compiled in this process afterwards."""
    return bool(getattr(torch._C, "_len_torch_dispatch_stack", int)())


def _by_torch() -> Callable[..., tuple[Tensor, Tensor]]:
    global _kernel
    if _kernel is None:
        # no pool of compiler processes that would outlive the run
        _kernel = torch.compile(_into, dynamic=True, options={"compile_threads": 1})
    return _kernel


def _into(
    z_pos: Tensor, z_neg: Tensor, into: Tensor, push: Tensor, tau: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    if not _compiling():
        _note_plain()
    return _written_into(z_pos, z_neg, into, push, tau, alpha)


def _written_into(
    z_pos: Tensor, z_neg: Tensor, into: Tensor, push: Tensor, tau: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    return rule(z_pos, z_neg, push, tau, alpha, into, compiled=True)[1:]


def _written(z_pos: Tensor, z_neg: Tensor, push: Tensor, tau: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return rule(z_pos, z_neg, push, tau, alpha, None, compiled=True)


def _note_plain() -> None:
    global _plain
    _plain += 1


def _compare(features: Sequence[Tensor], numbers: Sequence[Tensor], made: Sequence[Tensor]) -> None:
    z_pos, z_neg, *into = features
    push, tau, alpha = numbers
    out = into[0] if into else made[0]
    check_close(out, rule(z_pos, z_neg, push, tau, alpha, None)[0], _CLOSE, "the compiled rule")


_direct = Direct(_written, _compare)
_direct_into = Direct(_written_into, _compare)
