"""Strength that follows what the taps measure: guidance eases off where z_pos and z_neg do not, or no longer, differ.

For every token, d = |z_pos - z_neg|_1 / |z_pos|_1; the yardstick is the mean of d over the image's tokens in the
layer's first guided call, d_first. The token's strength is multiplied by

    min(1, d / d_first) ^ power

So what differs as much as the average did at first is guided in full, what differs less is guided less: the background
within a step, the whole picture as the steps go on. ``power`` 0 is off, 1 proportional, more is closer to a mask. Each
image has yardsticks of its own, and all of it stays on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .layers import Layer


class Adaptive:
    """The yardsticks of one run. ``power``: 0 and up."""

    def __init__(self, power: float):
        self.power = power
        self._first: dict[tuple[int, int, int], Tensor] = {}  # (layer, image, its nth row) -> d_first

    def factor(self, layer: Layer, images: Sequence[int], z_pos: Tensor, z_neg: Tensor, learn: bool) -> Tensor | float:
        """What the strength is multiplied by, 0..1: (rows, tokens, 1), or 1.0 where off. ``images``: of the rows.
        ``learn``: False leaves the yardsticks as they are."""
        if self.power == 0.0:
            return 1.0
        z, n = z_pos.detach().float(), z_neg.detach().float()
        differ = (z - n).abs().sum(-1, keepdim=True) / z.abs().sum(-1, keepdim=True).clamp_min(1e-30)
        means = differ.mean(dim=(1, 2))
        factors = []
        seen: dict[int, int] = {}
        for row, image in enumerate(images):
            key = (layer.index, image, seen.setdefault(image, 0))
            seen[image] += 1
            first = self._first.get(key, means[row])
            if learn:
                self._first.setdefault(key, first)
            factors.append(first)
        yardstick = torch.stack(factors).to(differ.device)[:, None, None].clamp_min(1e-30)
        return (differ / yardstick).clamp_max(1.0) ** self.power
