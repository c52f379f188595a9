"""Attention over a text whose tokens are filled up to a number that a CPU likes.

torch's attention on a CPU works on 16 keys at a time; what is left of CLIP's 77, thirteen, it does one by one, and that
takes as long as all others (docs/PERFORMANCE.md). The keys filled in are masked: the features are the same but for
rounding. The negative's are filled up when they are kept, the prompt's on their way into the host's attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from ..sdpa import plain_call

_LANES = 16
# Earlier ones have no fast attention with a mask on a CPU.
_MASKS_ARE_FAST = tuple(int(n) for n in torch.__version__.split(".")[:2] if n.isdigit()) >= (2, 3)


@dataclass(frozen=True)
class KeysValues:
    """``keys``, ``values``: (negatives, heads, tokens, head size). ``mask``: (1, 1, 1, tokens), added to the scores:
    0, and minus infinity for the tokens filled in; None where there are none."""

    keys: Tensor
    values: Tensor
    mask: Tensor | None = None

    def padded(self) -> KeysValues:
        """Filled up where that is faster, else these."""
        tokens = self.keys.shape[-2]
        more = _missing(tokens, self.keys.device)
        if not more:
            return self
        mask = _mask(tokens, more, self.keys.dtype)
        return KeysValues(pad(self.keys, (0, 0, 0, more)), pad(self.values, (0, 0, 0, more)), mask)

    def attend(self, query: Tensor, scale: float | None = None) -> Tensor:
        """Features (rows, heads, image tokens, head size) of ``query``, of the same shape. ``scale``: of the scores,
        None for torch's own."""
        more: dict[str, Any] = {} if scale is None else {"scale": scale}  # torch before 2.1 does not know it
        return scaled_dot_product_attention(query, self.keys, self.values, attn_mask=self.mask, **more)


def filling(keys: Tensor) -> Tensor:
    """A layer's own ``keys`` (rows, tokens, width), such that the host's attention over them fills them up, if it is
    torch's; everything else sees these. Themselves where that would be no faster."""
    return keys.as_subclass(_Filling) if _missing(keys.shape[-2], keys.device) and type(keys) is Tensor else keys


class _Filling(Tensor):
    """On its way through a host's views into scaled_dot_product_attention; what others make of it is plain."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            made = _attend(args, kwargs) if func is scaled_dot_product_attention else func(*args, **kwargs)
            if not isinstance(made, Tensor):
                return made
            return made.as_subclass(cls if getattr(func, "__name__", "") in _ON_THE_WAY else Tensor)


_ON_THE_WAY = {"view", "transpose", "reshape", "permute", "unflatten", "contiguous", "to", "float", "half", "bfloat16"}


def _attend(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    try:
        filled = _filled_up(args, kwargs)
    except Exception:  # whatever a kernel may say: the host's own call does
        filled = None
    return scaled_dot_product_attention(*args, **kwargs) if filled is None else filled


def _filled_up(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The same attention with keys filled up; None where it is not a plain one, or already as it should be."""
    call = plain_call(args, kwargs) if len(args) <= 3 else None  # a mask by position, even None, is the host's
    if call is None:
        return None
    q, k, v, scale = call
    text = KeysValues(k, v).padded()
    return None if text.mask is None else text.attend(q, scale)


def _missing(tokens: int, device: torch.device) -> int:
    """Tokens to be filled in."""
    return -tokens % _LANES if device.type == "cpu" and _MASKS_ARE_FAST else 0


@lru_cache(maxsize=32)
def _mask(tokens: int, more: int, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # it outlives the mode it is made in
        mask = torch.zeros(1, 1, 1, tokens + more, dtype=dtype)
        mask[..., tokens:] = -torch.inf
    return mask
