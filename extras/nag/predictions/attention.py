"""Perturbed-Attention Guidance (arXiv 2403.17377) and SoftPAG (HeadHunter, arXiv 2506.10978): in the perturbed
prediction, self-attention of the chosen layers and heads is, in part, the identity: (1 - beta) A + beta I."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ..branches.identity import mixed
from ..kept import as_index
from ..layers import Layer
from ..layout import copy_as
from ..part import Rows
from ..schedule import Schedule
from ..taps import marked, projection
from .base import Perturbation, moved


class AttentionPerturbation(Perturbation):
    """``layers``: self-attentions. ``beta``: 0..1, 1 is PAG; a layer's strength multiplies it. ``heads``: those
    perturbed, None for all."""

    def __init__(
        self,
        method: str,
        schedule: Schedule,
        layers: list[Layer],
        scale: float,
        strict: bool,
        beta: float,
        heads: tuple[int, ...] | None,
    ):
        super().__init__(method, schedule, layers, scale, strict)
        self.beta, self.heads = beta, heads

    def _neutral(self) -> str:
        return "beta 0 leaves the attention unperturbed and the picture unchanged" if self.beta == 0 else ""

    def _disturb(
        self, layer: Layer, rows: Rows, total: int, seed_of: Callable[[int], int]
    ) -> Sequence[Callable[[], None]]:
        state = self.state
        seen: list[Any] = []

        @marked
        def see(module: nn.Module, args: Any, output: Any) -> None:
            seen[:] = [output]

        @marked
        def replace(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            z, values = args[0], seen.pop() if seen else None
            if not isinstance(values, Tensor) or values.shape != z.shape or z.shape[0] % total:
                state.miss(layer)
                return None
            tiles = z.shape[0] // total  # a host may have cut its pictures: the tiles of one follow one another
            numbers = [row * tiles + tile for row, _ in rows for tile in range(tiles)]
            at = as_index(numbers, z.device)
            own = z[at]
            perturbed = mixed(own, values[at], self.beta * layer.strength, self.heads, layer.heads)
            state.note(layer, moved(perturbed, own))
            if len(numbers) < z.shape[0]:
                out = copy_as(z)
                out[at] = perturbed
                return (out, *args[1:])
            return (perturbed, *args[1:])

        # before any guidance in this layer: that then acts on the perturbed attention as on the model's own
        return [
            layer.attn.to_v.register_forward_hook(see).remove,
            projection(layer.attn.to_out).register_forward_pre_hook(replace, prepend=True).remove,
        ]
