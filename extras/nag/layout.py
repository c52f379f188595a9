"""Tensors that lie in memory as others do.

Which of its ways torch takes depends on it, and with the way the last bit: a linear layer adds its bias in the same
breath only where its input is contiguous. So what is not guided stays the host's to the bit only in a copy of its kind.
"""

from __future__ import annotations

import torch
from torch import Tensor


def empty_as(z: Tensor) -> Tensor:
    """Of the shape, type, device and strides of ``z``, gaps between its numbers included; contiguous where several of
    them share a place."""
    if z.is_contiguous() or any(step == 0 and size > 1 for step, size in zip(z.stride(), z.shape, strict=True)):
        return torch.empty_like(z, memory_format=torch.contiguous_format)
    return torch.empty_strided(z.shape, z.stride(), dtype=z.dtype, device=z.device)


def copy_as(z: Tensor) -> Tensor:
    """A copy of ``z``, as empty_as()."""
    return z.clone() if z.is_contiguous() else empty_as(z).copy_(z)
