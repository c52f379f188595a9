"""Token Perturbation Guidance (arXiv 2506.10036): in the perturbed prediction, the tokens that enter the chosen
transformer blocks are permuted, and stay so.

The published code draws from the global generator, the same permutation for all images. Here each is drawn from the
picture's own seed, its step and its block: a picture is the same alone and in any batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import Layer
from ..part import Rows
from ..taps import marked
from .base import Perturbation, moved


class TokenPerturbation(Perturbation):
    """``layers``: transformer blocks. A block of strength x permutes that share of the tokens among themselves."""

    def _disturb(
        self, layer: Layer, rows: Rows, total: int, seed_of: Callable[[int], int]
    ) -> Sequence[Callable[[], None]]:
        state = self.state

        @marked
        def permute(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            name = next((n for n in ("hidden_states", "x") if isinstance(kwargs.get(n), Tensor)), None)
            x = args[0] if args else kwargs.get(name or "")
            if not isinstance(x, Tensor) or x.dim() != 3 or x.shape[0] != total:
                state.miss(layer)
                return None
            order = torch.arange(x.shape[1]).repeat(x.shape[0], 1)
            for row, image in rows:
                seed = mix(seed_of(image), state.step, layer.index)
                order[row] = permutation(x.shape[1], seed, layer.strength)
            if x.is_cuda:  # without pinned memory the copy would wait for the device
                order = order.pin_memory()
            shuffled = x.gather(1, order.to(x.device, non_blocking=True)[..., None].expand_as(x))
            at = [row for row, _ in rows]
            state.note(layer, moved(shuffled[at], x[at]))
            return ((shuffled, *args[1:]), kwargs) if args else (args, {**kwargs, str(name): shuffled})

        return [layer.module.register_forward_pre_hook(permute, prepend=True, with_kwargs=True).remove]


def mix(*numbers: int) -> int:
    """One seed (63 bits) of several numbers."""
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(tokens: int, seed: int, share: float = 1.0) -> Tensor:
    """A permutation of ``tokens`` places (CPU, int64) in which a ``share`` of them, 0..1, takes part."""
    drawn = torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))
    if share >= 1.0:
        return drawn
    part = drawn[: round(share * tokens)]
    order = torch.arange(tokens)
    order[part.sort().values] = part
    return order
