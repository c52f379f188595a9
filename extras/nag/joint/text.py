"""NAG in transformers: the negative's own text runs through the blocks beside the prompt's (arXiv 2505.21179)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..kept import as_index
from .blocks import JointBlock, TextStream
from .find import Transformer
from .taps import JointState, Met, Negative


class TextSource:
    """``contexts``: (tokens, channels) per image, or one for all; ``pooled``: (channels,) likewise, or None for the
    prompt's own. ``own_image``: in Flux's single blocks the negative has a copy of the image's tokens of its own, as
    published, at twice the cost of these blocks; else it meets the prompt's."""

    def __init__(self, transformer: Transformer, own_image: bool = False):
        self.transformer, self.own_image = transformer, own_image
        self.contexts: list[Tensor] = []
        self.pooled: list[Tensor] | None = None
        self._streams: list[TextStream] = []

    def set_contexts(self, contexts: Tensor | Sequence[Tensor], pooled: Tensor | Sequence[Tensor] | None) -> None:
        """ValueError where they do not fit each other."""
        self.contexts = list(contexts[None] if isinstance(contexts, Tensor) and contexts.dim() == 2 else contexts)
        self.pooled = None
        if pooled is not None and self.transformer.family.OWN_POOLED:
            self.pooled = list(pooled[None] if isinstance(pooled, Tensor) and pooled.dim() == 1 else pooled)
            if len(self.pooled) != len(self.contexts):
                raise ValueError(f"negative has {len(self.contexts)} contexts and {len(self.pooled)} pooled embeddings")

    def begin(self, state: JointState) -> None:
        """Embed the negatives as the model embeds its prompt. Those of one length go together."""
        by_length: dict[int, list[tuple[int, int]]] = {}
        for row, image in state.rows:
            item = 0 if len(self.contexts) == 1 else image
            if not 0 <= item < len(self.contexts):
                raise ValueError(f"image is {image}; allowed: 0 to {len(self.contexts) - 1}, one per negative")
            by_length.setdefault(self.contexts[item].shape[0], []).append((row, item))
        self._streams = []
        for pairs in by_length.values():
            rows = tuple(row for row, _ in pairs)
            text = torch.stack([self.contexts[item] for _, item in pairs])
            pooled = None if self.pooled is None else torch.stack([self.pooled[item] for _, item in pairs])
            family, model = self.transformer.family, self.transformer.module
            self._streams.append(family.stream(model, state.arguments, rows, text, pooled))
        state.text_tokens = self._streams[0].text_tokens

    def shares(self, block: JointBlock, call: dict[str, Any]) -> bool:
        """Whether the negatives meet the very image of the prompt in this block, and no mask hides any of them."""
        apart = self.own_image and block.image_in(call) is not None
        return not apart and all(stream.mask is None for stream in self._streams)

    def features(self, block: JointBlock, met: Met) -> list[Negative]:
        """z_neg of the image's tokens; the negative's text is one block further afterwards."""
        return [self._advance(stream, block, met) for stream in self._streams]

    def _advance(self, stream: TextStream, block: JointBlock, met: Met) -> Negative:
        stream.bring(met.z.device)
        rows = as_index(stream.rows, stream.text.device)
        if self.own_image and stream.image is None:
            entering = block.image_in(met.call)
            stream.image = None if entering is None else entering[rows]
        length = stream.text.shape[1]
        own = block.open(stream, met.call)
        if stream.image is not None:
            z = _attend(own.q, own.k, own.v, stream.mask)

            def finish(goes_on: Tensor) -> None:
                if not block.last:
                    stream.tokens = block.close(stream, torch.cat([z[:, :length], goes_on], dim=1), own)

            return Negative(stream.rows, z[:, length:], finish)
        if met.shared is not None:
            part = met.shared.of(stream.rows)
            if not block.last:
                stream.tokens = block.close(stream, _whole(part.asked_by(own.q, own.k, own.v)), own)
            return Negative(stream.rows, _whole(part.beside(own.k, own.v)))
        q, k, v = block.image_heads(met.captured, rows, met.call)
        asking = q if block.last else torch.cat([own.q, q], dim=2)
        z = _attend(asking, torch.cat([own.k, k], dim=2), torch.cat([own.v, v], dim=2), stream.mask)
        if block.last:
            return Negative(stream.rows, z)
        stream.tokens = block.close(stream, z[:, :length], own)
        return Negative(stream.rows, z[:, length:])

    def rest(self) -> None:
        """No forward is in progress: let go of what belonged to one."""
        self._streams = []

    def clear(self) -> None:
        """Drop what is kept."""
        self.contexts, self.pooled, self._streams = [], None, []


def _attend(q: Tensor, k: Tensor, v: Tensor, text_mask: Tensor | None) -> Tensor:
    """(rows, tokens, width), heads merged. ``text_mask``: of the first keys, see TextStream."""
    mask = None
    if text_mask is not None:
        image = text_mask.new_ones(k.shape[0], k.shape[2] - text_mask.shape[1])
        every = torch.cat([text_mask, image], dim=1)
        mask = every[:, None, None, :]
        if every.dtype != torch.bool:
            mask = (mask * every[:, None, -q.shape[2] :, None]).to(q.dtype)
    return _whole(scaled_dot_product_attention(q, k, v, attn_mask=mask)).to(q.dtype)


def _whole(z: Tensor) -> Tensor:
    """(rows, heads, tokens, head size) -> (rows, tokens, width)."""
    return z.transpose(1, 2).flatten(2)
