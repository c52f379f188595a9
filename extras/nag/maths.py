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
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .effect import Effect, Lengths
from .kept import kept
from .layout import empty_as

Done = tuple[Tensor, Lengths]  # out, and the lengths of rule()
# z_pos, z_neg, push, tau, alpha, where out goes (None: into a new tensor) -> None where it was not done
Kernel = Callable[[Tensor, Tensor, "float | Tensor", float, float, "Tensor | None"], "Done | None"]
# Others (MPS, DirectML) lack some operators, or write to places that are views in a wrong way: the plain ones do there.
_WELL_KNOWN = ("cpu", "cuda")
_PIECE = 65536  # numbers per thread of a CPU that are worked on at once: their copies stay in its cache


def normalized_guidance(
    z_pos: Tensor,
    z_neg: Tensor,
    scale: float,
    tau: float,
    alpha: float,
    strength: float | Tensor = 1.0,
    effect: Effect | None = None,
    into: Tensor | None = None,
    kernel: Kernel | None = None,
) -> Tensor:
    """Push the positive attention features away from the negative ones.

    ``z_pos``, ``z_neg``: (..., width), heads merged, before the output projection; ``z_neg`` may broadcast.
    ``scale``: s of the reference code, any finite number, 1 = no guidance. ``tau``: >= 0, upper limit of the
    growth of a token's L1 norm (below 1 it shrinks unguided tokens too: settings refuse that).
    ``alpha``: 0..1, share of the guided features. ``strength``: 0..1, scales (s - 1): the ramp; a tensor that
    broadcasts (not checked: that would wait for the device) makes it differ by row or token.
    ``effect``: takes note of the change. ``into``: where the result goes (without gradients), instead of a new tensor;
    never ``z_pos`` itself. ``kernel``: another way of computing rule() without gradients; see fused.py.

    Returns a tensor of the shape and dtype of ``z_pos``. Arithmetic and norms are float32 at least, zero rows
    stay zero, float16 results are limited to the finite range. Exact, bit for bit: s = 1, strength = 0 or
    alpha = 0 give ``z_pos`` itself, and tau >= 1 with z_neg == z_pos gives z_pos.
    Raises ValueError for a non-finite number, a negative tau, or alpha or strength outside 0..1.
    """
    _check(scale, tau, alpha, strength)
    push = strength * (scale - 1.0)
    if alpha == 0.0 or (not isinstance(push, Tensor) and push == 0.0):
        if effect is not None:
            size = z_pos.detach().to(wide_type(z_pos)).abs().sum(-1, keepdim=True)
            effect.noted += ((torch.zeros_like(size), size),)
        return z_pos if into is None else into.copy_(z_pos)
    if torch.is_grad_enabled() and (z_pos.requires_grad or z_neg.requires_grad):
        result, moved, size = rule(z_pos, z_neg, push, tau, alpha, None)
        result = result if into is None else into.copy_(result)
        lengths = moved.detach(), size.detach()
    else:
        done = None if kernel is None else kernel(z_pos, z_neg, push, tau, alpha, into)
        result, lengths = done or _eager(z_pos, z_neg, push, tau, alpha, empty_as(z_pos) if into is None else into)
    if effect is not None:
        effect.noted += (lengths,)
        effect.share = alpha
    return result


def rule(
    z_pos: Tensor,
    z_neg: Tensor,
    push: float | Tensor,
    tau: float | Tensor,
    alpha: float | Tensor,
    into: Tensor | None,
    lengths: Sequence[Tensor | None] = (None, None),
    spare: Sequence[Tensor | None] = (None, None, None),
    compiled: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """(out, |out - z_pos| / alpha, |z_pos|), the last two of each token: (..., 1). In as few passes as torch has.
    Checks nothing; arguments as of normalized_guidance(), ``push`` is strength * (scale - 1); ``tau`` and ``alpha`` may
    be tensors without dimensions. ``into``: where out goes; ``lengths``: where the two go; ``spare``:
    three wide tensors shaped like z_pos to work in, instead of new ones (all without gradients). ``compiled``: written
    for a compiler."""
    wide = wide_type(z_pos, z_neg)
    first, second, third = spare
    moved, size = lengths
    positive = _widened(z_pos, wide, first)
    # z + (s-1)(z - n) and z - alpha(z - g^), not the sums of products: these are exact where nothing changes. The
    # first is what lerp computes from 0.5 on, in one pass; for a compiler lerp would be more work.
    negative = _widened(z_neg, wide, second)
    more: Any = push.to(wide) if isinstance(push, Tensor) else push
    if compiled:
        guided = positive + more * (positive - negative)
    else:
        if negative.shape != positive.shape:
            negative = negative.expand_as(positive)
        guided = torch.lerp(negative, positive, more + 1.0, out=second)
    size = _length(positive, third, size)
    back = torch.addcmul(positive, guided, _shrink(size, _length(guided, third), tau), value=-1.0, out=second)
    moved = _length(back, third, moved)
    step, share = (back * alpha, 1.0) if isinstance(alpha, Tensor) else (back, alpha)
    half = z_pos.dtype == torch.float16
    # Where numbers are narrowed, a CPU is faster in two passes.
    direct = into is not None and (into.is_cuda or into.dtype == wide)
    out = torch.add(positive, step, alpha=-share, out=into if direct and not half else third)
    if half:
        limit = torch.finfo(torch.float16).max
        out = torch.clamp(out, -limit, limit, out=into if direct else third)
    if not direct:
        out = out.to(z_pos.dtype) if into is None else into.copy_(out)
    return out, moved, size


def _eager(z_pos: Tensor, z_neg: Tensor, push: float | Tensor, tau: float, alpha: float, into: Tensor) -> Done:
    """The rule without a compiler; on a CPU for some tokens at a time."""
    if not z_pos.is_cuda:
        if z_pos.device.type not in _WELL_KNOWN:
            out, moved, size = rule(z_pos, z_neg, push, tau, alpha, None)
            return into.copy_(out), (moved, size)
        tokens = z_pos.shape[-2] if z_pos.dim() > 1 else 1
        each = max(1, _PIECE * torch.get_num_threads() * tokens // max(1, z_pos.numel()))
        if each < tokens:
            return into, _in_pieces(each, z_pos, z_neg, push, tau, alpha, into)
    _, moved, size = rule(z_pos, z_neg, push, tau, alpha, into)
    return into, (moved, size)


def _in_pieces(
    each: int, z_pos: Tensor, z_neg: Tensor, push: float | Tensor, tau: float, alpha: float, into: Tensor
) -> Lengths:
    """The rule, for ``each`` tokens at a time."""
    tokens = z_pos.shape[-2]

    def piece(x: Any, first: int) -> Any:
        own = isinstance(x, Tensor) and x.dim() > 1 and x.shape[-2] == tokens
        return x[..., first : first + each, :] if own else x

    wide = wide_type(z_pos, z_neg)
    moved, size = (z_pos.new_empty((*z_pos.shape[:-1], 1), dtype=wide) for _ in range(2))
    spare = z_pos.new_empty((3, *piece(z_pos, 0).shape), dtype=wide)
    for first in range(0, tokens, each):
        pos, neg, strength, *where = (piece(x, first) for x in (z_pos, z_neg, push, into, moved, size))
        rule(pos, neg, strength, tau, alpha, where[0], where[1:], spare[..., : pos.shape[-2], :].unbind())
    return moved, size


def wide_type(*tensors: Tensor) -> torch.dtype:
    """What the rule computes in."""
    for x in tensors:
        if x.dtype == torch.float64:
            return torch.float64
    return torch.float32


def _widened(x: Tensor, wide: torch.dtype, spare: Tensor | None) -> Tensor:
    return x.to(wide) if spare is None or x.dtype == wide else spare.copy_(x)


def _length(x: Tensor, spare: Tensor | None, into: Tensor | None = None) -> Tensor:
    """L1 norm of each token, (..., 1): one pass on a GPU; on a CPU torch's one is slower than these two."""
    if x.is_cuda:
        return torch.linalg.vector_norm(x, 1, -1, keepdim=True, out=into)
    return torch.sum(torch.abs(x, out=spare), -1, keepdim=True, out=into)


def _shrink(norm_pos: Tensor, norm: Tensor, tau: float | Tensor) -> Tensor:
    """min(r, tau) / r  ==  min(1, tau |z| / |g|): 1 for a zero row of both, where that is 0/0."""
    if isinstance(tau, Tensor) or norm.device.type not in _WELL_KNOWN:
        return (tau * norm_pos / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1.0)
    zero, one = kept(0.0, norm.dtype, norm.device), kept(1.0, norm.dtype, norm.device)
    return torch.fmin(torch.addcdiv(zero, norm_pos, norm, value=tau), one)  # fmin takes the number where one is none


def _check(scale: float, tau: float, alpha: float, strength: float | Tensor) -> None:
    strength = 1.0 if isinstance(strength, Tensor) else strength
    if -math.inf < scale < math.inf and 0.0 <= tau < math.inf and 0.0 <= alpha <= 1.0 and 0.0 <= strength <= 1.0:
        return
    for name, value in (("scale", scale), ("tau", tau), ("alpha", alpha), ("strength", strength)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}; allowed: a finite number")
    if tau < 0:
        raise ValueError(f"tau is {tau!r}; allowed: 0 or more (settings: 1 or more)")
    for name, value in (("alpha", alpha), ("strength", strength)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value!r}; allowed: 0 to 1")
