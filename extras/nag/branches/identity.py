"""NAG-PAG's negative branch: self-attention that is the identity, which is the values themselves; no L x L matrix.

In part (soft identity): z_neg = (1 - beta) z_pos + beta v, on the chosen heads.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..heads import check_heads
from ..kept import as_index
from ..layers import Layer
from . import RowGroup


class IdentityBranch:
    """``beta``: 0..1, 1 is the identity. ``heads``: those that differ from z_pos, None for all; ``field``: the option
    they came from."""

    kind = "self"
    source = "to_v"

    def __init__(self, beta: float = 1.0, heads: tuple[int, ...] | None = None, field: str = "heads"):
        self.beta, self.heads, self.field = beta, heads, field

    def check(self, layers: Sequence[Layer]) -> None:
        """LayerError where a head does not exist in every layer."""
        check_heads(self.heads, layers, self.field)

    def plan(self, rows: Sequence[tuple[int, int]]) -> list[RowGroup]:
        """All rows together."""
        return [RowGroup(tuple(r for r, _ in rows), tuple(i for _, i in rows))]

    def features(self, layer: Layer, seen: Tensor, z_pos: Tensor, group: RowGroup) -> Tensor:
        """The values ``seen``, mixed with ``z_pos``; (rows, tokens, width)."""
        return mixed(z_pos, seen, self.beta, self.heads, layer.heads)

    def clear(self) -> None:
        """Nothing is kept."""


def mixed(z: Tensor, values: Tensor, beta: float, heads: tuple[int, ...] | None, count: int) -> Tensor:
    """(1 - beta) z + beta v on some of ``count`` heads, z on the others. ``z``, ``values``: (rows, tokens, width),
    heads merged. Exact at both ends: beta = 1 gives v, beta = 0 gives z."""
    values = values.to(z.dtype)
    part = values if beta == 1.0 else z + beta * (values - z)
    if heads is None:
        return part
    out = z.clone()
    where = as_index(heads, z.device)
    out.unflatten(-1, (count, -1))[..., where, :] = part.unflatten(-1, (count, -1))[..., where, :]
    return out
