"""Every guidance in one formula, written down here and nowhere else.

With u and t the unconditional and the conditional prediction of a step, p_i that of a perturbation i, q that of the NAG
negative, w the CFG scale in force (1 without CFG)::

    n   = normalised rule of t against q, strength s, tau, alpha      (maths.py; the norm is that of an image)
    eps = u + w (n - u) + sum_i gamma_i (t - p_i)

    classifier-free guidance  u + w (t - u)      arXiv 2207.12598
    NAG in prediction space   n                  the rule of arXiv 2505.21179; without it n = t
    PAG, SoftPAG              p: self-attention is (in part) the identity    arXiv 2403.17377, 2506.10978
    TPG                       p: tokens are permuted   arXiv 2506.10036; "alone" is w = 1: t + gamma (t - p)

A WebUI computes u + w (c - u) by itself, from the denoiser's output. So it is enough to put, in the conditional rows
of that output,

    c' = n + sum_i (gamma_i / w) (t - p_i)

in the place of t: then u + w (c' - u) = eps, exactly. The unconditional rows stay as they are. The predictions are the
network's own output (noise, v or flow): the sums are the same in any of them, the norm in n is that of the output.

Methods in attention space (NAG, NAG-PAG) act inside t, p_i and q alike, so that t - p_i is the perturbation alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..maths import normalized_guidance


def normalized_prediction(
    t: Tensor, q: Tensor, scale: float, tau: float, alpha: float, strength: float = 1.0
) -> Tensor:
    """n of the formula. ``t``, ``q``: (images, ...). The other numbers: as in normalized_guidance."""
    return normalized_guidance(t.flatten(1), q.flatten(1), scale, tau, alpha, strength).view_as(t)


def push(t: Tensor, p: Tensor, gamma: float, w: float) -> Tensor:
    """(gamma / w) (t - p), float32 at least. ``w`` > 0."""
    wide = torch.promote_types(t.dtype, torch.float32)
    return (gamma / w) * (t.to(wide) - p.to(wide))


def combined(t: Tensor, n: Tensor | None, pushes: Sequence[Tensor]) -> Tensor:
    """c' of the formula, in the type of ``t``. ``n``: None without guidance in prediction space."""
    wide = torch.promote_types(t.dtype, torch.float32)
    result = (t if n is None else n).to(wide)
    for term in pushes:
        result = result + term
    return result.to(t.dtype)
