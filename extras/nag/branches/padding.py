"""Attention over a text whose tokens are filled up to a number that a CPU likes.

torch's attention on a CPU works on 16 keys at a time; what is left of CLIP's 77, thirteen, it does one by one, and that
takes as long as all others (docs/PERFORMANCE.md). The keys filled in are masked: the features are the same but for
rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

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
        more = -tokens % _LANES
        if self.keys.device.type != "cpu" or not more or not _MASKS_ARE_FAST:
            return self
        mask = self.keys.new_zeros(1, 1, 1, tokens + more)
        mask[..., tokens:] = -torch.inf
        return KeysValues(pad(self.keys, (0, 0, 0, more)), pad(self.values, (0, 0, 0, more)), mask)

    def attend(self, query: Tensor) -> Tensor:
        """Features (rows, heads, image tokens, head size) of ``query``, of the same shape."""
        return scaled_dot_product_attention(query, self.keys, self.values, attn_mask=self.mask)
