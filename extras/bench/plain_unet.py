"""NAG on a UNet as one would write it from the paper (arXiv 2505.21179): what our way is measured against.

Each is a diffusers attention processor that replaces the model's own in every text cross-attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def rule(z_pos: Tensor, z_neg: Tensor, scale: float, tau: float, alpha: float) -> Tensor:
    """As printed: extrapolate, limit the L1 norm, blend."""
    guided = scale * z_pos - (scale - 1) * z_neg
    ratio = guided.abs().sum(-1, keepdim=True) / z_pos.abs().sum(-1, keepdim=True).clamp_min(1e-6)
    guided = guided * torch.minimum(ratio, ratio.new_full((1,), tau)) / ratio.clamp_min(1e-6)
    return alpha * guided + (1 - alpha) * z_pos


class DuplicateBatch:
    """The layer's whole batch once more, with the negative as its text. ``negative``: (tokens, channels); ``numbers``:
    s, tau, alpha."""

    def __init__(self, negative: Tensor, numbers: tuple[float, float, float]):
        self.negative, self.numbers = negative, numbers

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *_: Any, **__: Any
    ) -> Tensor:
        assert encoder_hidden_states is not None
        rows = hidden_states.shape[0]
        negative = self.negative.expand(rows, -1, -1)
        if negative.shape != encoder_hidden_states.shape:
            raise ValueError("this plain reading takes a negative as long as the prompt")
        z = attend(attn, self._query(attn, hidden_states), torch.cat([encoder_hidden_states, negative])).chunk(2)
        out = rule(*z, *self.numbers)
        result: Tensor = attn.to_out[1](attn.to_out[0](out))
        return result / attn.rescale_output_factor

    @staticmethod
    def _query(attn: Any, hidden_states: Tensor) -> Tensor:
        query: Tensor = attn.to_q(torch.cat([hidden_states, hidden_states]))
        return query


class SharedQuery(DuplicateBatch):
    """As the authors' code has it: the queries are computed once and then repeated."""

    @staticmethod
    def _query(attn: Any, hidden_states: Tensor) -> Tensor:
        query: Tensor = attn.to_q(hidden_states)
        return query.repeat(2, 1, 1)


def attend(attn: Any, query: Tensor, text: Tensor) -> Tensor:
    """Attention of ``query`` over ``text``, heads merged."""

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

    z = scaled_dot_product_attention(split(query), split(attn.to_k(text)), split(attn.to_v(text)))
    return z.transpose(1, 2).flatten(2)
