"""The guidance formula, in one place: a pure function on tensors.

Normalized Attention Guidance, arXiv 2505.21179, in the convention of its reference code
(s multiplies the positive branch; the paper's phi is s - 1)::

    g   = z_neg + s * (z_pos - z_neg)
    r   = |g|_1 / |z_pos|_1              per token, over the last dimension
    g^  = g * min(r, tau) / r
    out = alpha * g^ + (1 - alpha) * z_pos
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normalized_guidance(
    z_pos: Tensor,
    z_neg: Tensor,
    scale: float,
    tau: float,
    alpha: float,
    strength: float | Tensor = 1.0,
) -> Tensor:
    """Push the positive attention features away from the negative ones.

    ``z_pos``, ``z_neg``: (..., width), heads merged, before the output projection; ``z_neg`` may broadcast.
    ``scale``: s of the reference code, any finite number, 1 = no guidance. ``tau``: >= 0, upper limit of the
    growth of a token's L1 norm (below 1 it shrinks unguided tokens too: settings refuse that).
    ``alpha``: 0..1, share of the guided features. ``strength``: 0..1, scales (s - 1): the ramp; a tensor that
    broadcasts (not checked: that would wait for the device) makes it differ by row or token.

    Returns a tensor of the shape and dtype of ``z_pos``. Arithmetic and norms are float32 at least, zero rows
    stay zero, float16 results are limited to the finite range. Exact, bit for bit: s = 1, strength = 0 or
    alpha = 0 give ``z_pos`` itself, and tau >= 1 with z_neg == z_pos gives z_pos.
    Raises ValueError for a non-finite number, a negative tau, or alpha or strength outside 0..1.
    """
    _check(scale, tau, alpha, strength)
    push = strength * (scale - 1.0)
    if alpha == 0.0 or (not isinstance(push, Tensor) and push == 0.0):
        return z_pos
    wide = torch.promote_types(z_pos.dtype, torch.float32)
    positive = z_pos.to(wide)
    # z + (s-1)(z - n) and z + alpha(g^ - z), not the sums of products: these are exact where nothing changes.
    guided = positive + push * (positive - z_neg.to(wide))
    norm_pos = positive.abs().sum(-1, keepdim=True)
    norm_guided = guided.abs().sum(-1, keepdim=True)
    # min(r, tau) / r  ==  min(1, tau |z| / |g|): no 0/0 for a zero row on either side.
    shrink = (tau * norm_pos / norm_guided.clamp_min(torch.finfo(wide).tiny)).clamp_max(1.0)
    out = positive + alpha * (guided * shrink - positive)
    if z_pos.dtype == torch.float16:
        limit = torch.finfo(torch.float16).max
        out = out.clamp(-limit, limit)
    return out.to(z_pos.dtype)


def _check(scale: float, tau: float, alpha: float, strength: float | Tensor) -> None:
    strength = 1.0 if isinstance(strength, Tensor) else strength
    for name, value in (("scale", scale), ("tau", tau), ("alpha", alpha), ("strength", strength)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}; allowed: a finite number")
    if tau < 0:
        raise ValueError(f"tau is {tau!r}; allowed: 0 or more (settings: 1 or more)")
    for name, value in (("alpha", alpha), ("strength", strength)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value!r}; allowed: 0 to 1")
