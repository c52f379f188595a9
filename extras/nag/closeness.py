"""Whether another way of computing features gives what the plain one gives."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_WIDE = 2e-5  # for types that are not named


def check_close(found: Tensor, expected: Tensor, close: Mapping[torch.dtype, float], what: str) -> None:
    """ArithmeticError unless ``found`` (any shape) is finite and as near to ``expected`` as ``close`` says for its
    type: a share of the largest number. Waits for the device. ``what``: for the message."""
    size = float(expected.float().abs().max())
    off = float((found.float() - expected.float()).abs().max())
    if not off <= close.get(found.dtype, _WIDE) * max(size, torch.finfo(torch.float32).tiny):
        raise ArithmeticError(f"{what} is {off:.3g} off where features go to {size:.3g}")
