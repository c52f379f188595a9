"""NAG-PAG in transformers: attention of the image's tokens that is the identity, which is their values themselves."""

from __future__ import annotations

from typing import Any

from ..branches.identity import mixed
from ..kept import as_index
from .blocks import JointBlock
from .taps import JointState, Met, Negative


class IdentitySource:
    """``beta``, ``heads``: see branches.identity.IdentityBranch."""

    def __init__(self, beta: float = 1.0, heads: tuple[int, ...] | None = None):
        self.beta, self.heads = beta, heads
        self._rows: tuple[int, ...] = ()

    def begin(self, state: JointState) -> None:
        """Remember the rows, and how many tokens the prompt has."""
        self._rows = tuple(row for row, _ in state.rows)
        prompt = next(state.arguments[n] for n in ("encoder_hidden_states", "context") if n in state.arguments)
        state.text_tokens = int(prompt.shape[1])

    def shares(self, block: JointBlock, call: dict[str, Any]) -> bool:
        """No second attention is asked for."""
        return False

    def features(self, block: JointBlock, met: Met) -> list[Negative]:
        """The image's values, mixed with its z_pos where the identity is soft."""
        rows = as_index(self._rows, met.z.device)
        first, end = block.image(met.z, met.call)
        v = block.image_heads(met.captured, rows, met.call)[2].transpose(1, 2).flatten(2)
        z_pos = met.z[rows, first:end, : block.width]
        return [Negative(self._rows, mixed(z_pos, v, self.beta, self.heads, block.heads))]

    def rest(self) -> None:
        """Nothing is kept."""

    def clear(self) -> None:
        """Nothing is kept."""
