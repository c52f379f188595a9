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
    """Of one layer. ``block``: the transformer block around it, which is given the text before anybody changes it.

    The text is what the layer makes its keys of, so that each region of a regional prompt has its own; where that has
    more tokens than the block's, somebody has added to it, and the block's counts.
    """

    def __init__(self, layer: Layer, block: nn.Module, branch: TextBranch):
        self.layer, self.block, self.branch = layer, block, branch
        self._text: Tensor | None = None
        self._for_keys: Tensor | None = None
        self._done = True  # with the attention that these were seen in
        self._handles: list[RemovableHandle] = []

    def install(self) -> None:
        """Put the hooks in place; once is enough."""
        if not self._handles:
            attn = self.layer.attn
            self._handles.append(self.block.register_forward_pre_hook(self._see_text, with_kwargs=True))
            self._handles.append(attn.to_q.register_forward_pre_hook(self._see_begin))
            self._handles.append(attn.to_k.register_forward_pre_hook(self._see_keys))

    def remove(self) -> None:
        """Take them away; harmless when there are none."""
        handles, self._handles = self._handles, []
        self._text = self._for_keys = None
        for handle in handles:
            handle.remove()

    def __call__(self, queries: Tensor, where: slice | Tensor) -> Tensor | None:
        """Attention of these rows' queries (rows, tokens, width) over their own texts; None where these are unknown."""
        self._done = True
        text, used = self._text, self._for_keys
        if text is None:
            return None
        if used is not None and used.dim() == 3 and len(used) == len(text) and used.shape[1] <= text.shape[1]:
            text = used
        texts = text[where]
        return self.branch.features_over(self.layer, queries, texts) if len(texts) == len(queries) else None

    @marked
    def _see_text(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next((kwargs[name] for name in _NAMES if name in kwargs), args[1] if len(args) > 1 else None)
        if isinstance(given, tuple) and given:  # diffusers, with an image prompt: (text, images)
            given = given[0]
        self._text, self._done = given if isinstance(given, Tensor) else None, True

    @marked
    def _see_begin(self, to_q: nn.Module, args: tuple[Any, ...]) -> None:
        if self._done:
            self._for_keys, self._done = None, False

    @marked
    def _see_keys(self, to_k: nn.Module, args: tuple[Any, ...]) -> None:
        if self._for_keys is None and args and isinstance(args[0], Tensor):  # later ones are what others add, or ours
            self._for_keys = args[0]
