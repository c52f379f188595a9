"""NAG's negative branch: the layer's own queries attend to the negative prompt (arXiv 2505.21179)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kept import rows_of
from ..layers import Layer
from . import RowGroup
from .padding import KeysValues

ProjectContexts = Callable[[Any, Tensor], tuple[Tensor, Tensor]]
_KEEP = 8  # negatives remembered at once: prompt schedules alternate between a few


@dataclass(frozen=True)
class ContextSet:
    """The negatives of a batch. ``stacks``: one (n, tokens, channels) tensor per token count, each different
    negative once. ``place``: image -> (stack, place in it)."""

    number: int
    stacks: tuple[Tensor, ...]
    place: tuple[tuple[int, int], ...]


class TextBranch:
    """Keys and values of the negatives are computed once per layer and set of negatives, by the layer's own
    modules.

    ``project_contexts``: a host's hook for hypernetworks and the like: (attention module, context) ->
    (context for keys, context for values).
    """

    kind = "cross"
    source = "to_q"

    def __init__(self, project_contexts: ProjectContexts | None = None):
        self.project_contexts = project_contexts
        self._sets: dict[Hashable, ContextSet] = {}
        self._current: ContextSet | None = None
        self._numbers = 0
        self._projected: dict[tuple[Any, ...], KeysValues] = {}

    @property
    def ready(self) -> bool:
        """True once there is a negative."""
        return self._current is not None

    def set_contexts(self, contexts: Tensor | Sequence[Tensor], key: Hashable = None) -> None:
        """Use these negatives from the next call on.

        ``contexts``: one (tokens, channels) tensor per image, or one (images, tokens, channels) tensor; a
        single one serves all images. Token counts may differ. ``key``: names this set, so that a host which
        rebuilds equal tensors each step saves the comparison; without one, equal values are recognised.
        """
        images = _per_image(contexts)
        if key is not None and ("key", key) in self._sets:
            name: Hashable = ("key", key)
        else:
            name = ("key", key) if key is not None else self._equal(images)
        if name not in self._sets:
            self._sets[name] = self._stack(images)
            self._forget_oldest()
        self._sets[name] = self._current = self._sets.pop(name)  # most recently used last

    def check(self, layers: Sequence[Layer]) -> None:
        """Any layer will do."""

    def plan(self, rows: Sequence[tuple[int, int]]) -> list[RowGroup]:
        """One group per token count, so that each image is computed as if alone."""
        if self._current is None:
            raise ValueError("negative is missing; set_negative comes before the first guided call")
        place = self._current.place
        groups: dict[int, list[tuple[int, int, int]]] = {}
        for row, image in rows:
            if len(place) > 1 and not 0 <= image < len(place):
                raise ValueError(f"image is {image}; allowed: 0 to {len(place) - 1}, one per negative")
            stack, item = place[image if len(place) > 1 else 0]
            groups.setdefault(stack, []).append((row, image, item))
        number = self._current.number
        made = []
        for stack, group in groups.items():
            numbers, images, items = zip(*group, strict=True)
            made.append(RowGroup(numbers, images, items, (number, stack)))
        return made

    def features(self, layer: Layer, seen: Tensor, z_pos: Tensor, group: RowGroup) -> Tensor:
        """Attention of the group's queries ``seen`` (rows, tokens, width) over their negatives' keys and values."""
        kept = self._keys_values(layer, seen, group)
        if not len(kept.keys) == len(group.items) == 1:
            kept = KeysValues(_take(kept.keys, group.items), _take(kept.values, group.items), kept.mask)
        return _attend(layer, seen, kept)

    def features_over(self, layer: Layer, seen: Tensor, contexts: Tensor) -> Tensor:
        """The same over ``contexts`` (rows, tokens, channels), one for each row."""
        return _attend(layer, seen, self._project(layer, seen, contexts))

    def contexts_of(self, group: RowGroup) -> Tensor:
        """The negatives themselves, (rows, tokens, channels), of a group of the latest plan."""
        assert self._current is not None
        return _take(self._current.stacks[group.key[1]], group.items)

    def clear(self) -> None:
        """Drop negatives, keys and values."""
        self._sets.clear()
        self._projected.clear()
        self._current = None

    def _keys_values(self, layer: Layer, query: Tensor, group: RowGroup) -> KeysValues:
        """Of all negatives of the group's token count."""
        name = (layer.index, *group.key, query.dtype, query.device)
        if name not in self._projected:
            assert self._current is not None
            contexts = self._current.stacks[group.key[1]]
            self._projected[name] = self._project(layer, query, contexts).padded()
        return self._projected[name]

    def _project(self, layer: Layer, query: Tensor, contexts: Tensor) -> KeysValues:
        attn = layer.attn
        contexts = contexts.to(device=query.device, dtype=query.dtype)
        if getattr(attn, "norm_cross", None) is not None:  # diffusers: contexts normalised in the layer
            contexts = attn.norm_encoder_hidden_states(contexts)
        for_keys, for_values = (contexts, contexts)
        if self.project_contexts is not None:
            for_keys, for_values = self.project_contexts(attn, contexts)
        # Called as modules: LoRA, quantised and offloaded weights do their work inside.
        return KeysValues(_split(attn.to_k(for_keys), layer.heads), _split(attn.to_v(for_values), layer.heads))

    def _equal(self, images: list[Tensor]) -> Hashable:
        """The name of a set with exactly these values, or a new one."""
        for name, known in self._sets.items():
            if len(known.place) == len(images) and all(
                _same(known.stacks[s][i], image) for (s, i), image in zip(known.place, images, strict=True)
            ):
                return name
        return ("set", self._numbers)

    def _stack(self, images: list[Tensor]) -> ContextSet:
        different: dict[int, list[Tensor]] = {}
        at: list[tuple[int, int]] = []
        for image in images:
            same_length = different.setdefault(image.shape[0], [])
            item = next((i for i, other in enumerate(same_length) if _same(other, image)), len(same_length))
            if item == len(same_length):
                same_length.append(image)
            at.append((image.shape[0], item))
        order = {length: s for s, length in enumerate(different)}
        self._numbers += 1
        stacks = tuple(torch.stack([x.detach() for x in group]) for group in different.values())  # a copy of our own
        return ContextSet(self._numbers, stacks, tuple((order[length], item) for length, item in at))

    def _forget_oldest(self) -> None:
        while len(self._sets) > _KEEP:
            gone = self._sets.pop(next(iter(self._sets)))
            self._projected = {n: kv for n, kv in self._projected.items() if n[1] != gone.number}


def _per_image(contexts: Tensor | Sequence[Tensor]) -> list[Tensor]:
    images = list(contexts[None] if isinstance(contexts, Tensor) and contexts.dim() == 2 else contexts)
    if not images:
        raise ValueError("negative is an empty list; allowed: one context per image, or one for all")
    for image in images:
        if not isinstance(image, Tensor) or image.dim() != 2 or 0 in image.shape:
            shape = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ValueError(f"negative is {shape}; allowed: tensors (tokens, channels), one per image")
        if image.shape[1] != images[0].shape[1]:
            raise ValueError(f"negative has widths {image.shape[1]} and {images[0].shape[1]}; allowed: one width")
    return images


def _same(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device) and torch.equal(one, other)


def _attend(layer: Layer, query: Tensor, text: KeysValues) -> Tensor:
    return text.attend(_split(query, layer.heads)).transpose(1, 2).reshape(query.shape)


def _split(x: Tensor, heads: int) -> Tensor:
    n, tokens, width = x.shape
    return x.view(n, tokens, heads, width // heads).transpose(1, 2)


def _take(x: Tensor, items: tuple[int, ...]) -> Tensor:
    """The entries ``items`` of the first dimension: a view wherever they are one, or follow one another."""
    first = items[0]
    if len(items) == len(x) == 1:
        return x
    if all(i == first for i in items):
        return x[first : first + 1].expand(len(items), *x.shape[1:])
    return rows_of(x, items)
