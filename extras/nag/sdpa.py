"""What a host's call of torch's scaled_dot_product_attention asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def plain_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor, float | None] | None:
    """Query, key, value, of four dimensions each, and the scale (None: torch's own), where it asks for nothing but
    softmax: no mask, not causal, no dropout, and nothing that is not known here. Else None."""
    given = {**dict(zip(_NAMES, args, strict=False)), **kwargs}
    q, k, v = (given.pop(name, None) for name in _NAMES[:3])
    if not all(isinstance(x, Tensor) and x.dim() == 4 for x in (q, k, v)):
        return None
    scale = given.pop("scale", None)
    if any(isinstance(x, Tensor) or x for x in given.values()):
        return None
    return q, k, v, scale
