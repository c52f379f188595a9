"""What a step asks of a GPU, counted where there is none: tensors without numbers that say they lie on one.

The model takes the ways that it takes on CUDA. Every operator that computes or copies is a launch there; one whose
result the CPU must read would be a wait, and ends such a step at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from extras.nag import kept

from . import arms
from .arms import BASE, DUPLICATE, NAG, NAG_PAG, OUTSIDE, SHARED
from .counting import counted
from .shapes import SHAPES, Subject

COUNTED = (BASE, OUTSIDE, NAG, NAG_PAG, SHARED, DUPLICATE)
DEVICE = torch.device("cuda", 0)


class _Unguarded(TorchFunctionMode):
    """Does without the few calls that ask a real device, and makes an attention one operator, as its kernels do."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.__getitem__:
            return _taken(*args)
        if func is Tensor.__setitem__:
            torch.ops.aten.copy_.default(_taken(*args[:2]), args[2])
            return None
        if func is Tensor.contiguous:
            layout = kwargs.get("memory_format", torch.contiguous_format)
            x = args[0]
            return x if x.is_contiguous(memory_format=layout) else x.clone(memory_format=layout)
        if func is Tensor.copy_:
            return torch.ops.aten.copy_.default(args[0], args[1])
        if func is scaled_dot_product_attention:
            query, key, value = [*args, *(kwargs[name] for name in ("query", "key", "value")[len(args) :])][:3]
            if not query.device == key.device == value.device:
                raise RuntimeError(f"attention of {query.device} over {key.device} and {value.device}")
            return query + 0  # one launch, of that shape
        return func(*args, **kwargs)


def _taken(x: Tensor, at: Any) -> Tensor:
    """x[at] for numbers, slices, None, one ellipsis, and tensors of numbers; a list waits for the device."""
    steps = at if isinstance(at, tuple) else (at,)
    if not any(step is Ellipsis for step in steps):
        steps = (*steps, Ellipsis)
    used = sum(step is not None and step is not Ellipsis for step in steps)
    dim, left = 0, x.dim() - used
    for step in steps:
        if step is None:
            x, dim = x.unsqueeze(dim), dim + 1
        elif step is Ellipsis:
            dim += left
        elif isinstance(step, int):
            x = x.select(dim, step)
        elif isinstance(step, slice):
            x, dim = torch.ops.aten.slice.Tensor(x, dim, step.start, step.stop, step.step or 1), dim + 1
        elif isinstance(step, Tensor) and step.dim() == 1:
            x, dim = x.index_select(dim, step), dim + 1
        else:
            raise TypeError(f"index {step!r} waits for the device")
    return x


@contextmanager
def pretending() -> Iterator[None]:
    """Within, tensors have no numbers, and may be made on DEVICE whether or not there is one."""
    own = kept._kept, kept._lasts
    kept._kept, kept._lasts = {}, lambda made: True  # as on a real device; what is made here must not be met outside
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), _Unguarded():
            yield
    finally:
        kept._kept, kept._lasts = own


def on_device(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A model without memory, its weights said to be on DEVICE. Within pretending() only."""
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            there = torch.empty(weight.shape, dtype=dtype, device=DEVICE)
            setattr(module, name, nn.Parameter(there, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=dtype, device=DEVICE))
    return model


def launches(name: str, dtype: torch.dtype, resolution: int) -> dict[str, Any]:
    """Of a UNet of SHAPES: {"layers": how many NAG guides, "steps": {step -> {"launches", "waits"}}} and what it was
    asked for, JSON-ready."""
    shape = SHAPES[name]
    found: dict[str, Any] = {}
    with pretending():
        subject = Subject(shape, on_device(shape.empty(), dtype), DEVICE, dtype, resolution)
        every = arms.arms(subject, COUNTED)
        nag = every[NAG]
        assert isinstance(nag, arms.Guided)
        layers = len(nag.guidance.runs[0].layers)
        for step in COUNTED:
            arm = every[step]
            for _ in range(2):  # what is done once per generation is done in the first
                arm.ready()
                try:
                    counts = counted(arm.step)
                finally:
                    arm.rest()
            found[step] = {"launches": counts.operators, "waits": counts.waits}
    asked = {"dtype": str(dtype).removeprefix("torch."), "resolution": resolution}
    return {"layers": layers, "steps": found, **asked}
