"""What the prompt alone contributes to a layer to whose attention other extensions add (an image prompt, a patch).

Guidance compares the prompt with its negative, so it is to act on this part; what others add keeps its strength.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .branches.text import TextBranch
from .layers import Layer
from .taps import marked

_NAMES = ("context", "encoder_hidden_states")  # of the text, among the arguments of a transformer block


class TextPart:
    """Of one layer. ``block``: the transformer block around it, which is given the text before anybody changes it."""

    def __init__(self, layer: Layer, block: nn.Module, branch: TextBranch):
        self.layer, self.block, self.branch = layer, block, branch
        self._context: Tensor | None = None
        self._handle: RemovableHandle | None = None

    def install(self) -> None:
        """Put the hook in place; once is enough."""
        if self._handle is None:
            self._handle = self.block.register_forward_pre_hook(self._see, with_kwargs=True)

    def remove(self) -> None:
        """Take it away; harmless when there is none."""
        handle, self._handle, self._context = self._handle, None, None
        if handle is not None:
            handle.remove()

    def __call__(self, queries: Tensor, where: slice | Tensor) -> Tensor | None:
        """Attention of these rows' queries (rows, tokens, width) over their own texts; None where these are unknown."""
        if self._context is None:
            return None
        texts = self._context[where]
        return self.branch.features_over(self.layer, queries, texts) if len(texts) == len(queries) else None

    @marked
    def _see(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next((kwargs[name] for name in _NAMES if name in kwargs), args[1] if len(args) > 1 else None)
        self._context = given if isinstance(given, Tensor) else None
