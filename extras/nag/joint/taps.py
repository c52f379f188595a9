"""Hooks into the blocks of a transformer with joint attention: what a block has computed for the image is seen, z_neg
is made of it, and the guided features take the place of z_pos."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..effect import Effect
from ..kept import as_index
from ..layers import Layer
from ..layout import copy_as
from ..taps import RuleState, marked, unwrap
from .blocks import JointBlock, Reader, brought
from .shared import ImagePart, Sharing


class Source(Protocol):
    """Where z_neg comes from in a transformer: text.TextSource, identity.IdentitySource."""

    def begin(self, state: JointState) -> None:
        """The first block of a forward is about to run."""
        ...

    def shares(self, block: JointBlock, call: dict[str, Any]) -> bool:
        """Whether features() can use an ImagePart of this block."""
        ...

    def features(self, block: JointBlock, met: Met) -> list[Negative]:
        """The negatives of the call's rows."""
        ...

    def rest(self) -> None:
        """No forward is in progress: let go of what belonged to one."""
        ...


@dataclass(frozen=True)
class Met:
    """What a tap has met in a block. ``z``: what is at the target. ``captured``: what ``block.captures`` told of the
    image, ``call``: the block's arguments (see JointBlock). ``shared``: the image's attention to itself, where it is
    known; then nothing need be captured."""

    z: Tensor
    captured: dict[str, Tensor]
    call: dict[str, Any]
    shared: ImagePart | None = None


@dataclass
class Negative:
    """``z_neg``: (rows, image tokens, width) of ``rows``. ``finish``: told the features that the image goes on with,
    guided or not."""

    rows: tuple[int, ...]
    z_neg: Tensor
    finish: Callable[[Tensor], None] | None = None


@dataclass(kw_only=True)
class JointState(RuleState):
    """What the taps read at each call. ``rows``: (row, image) pairs of the call in progress; ``arguments``: those of
    the model's own forward; ``text_tokens``: of the prompt in it. ``fresh``: no block has run yet. ``trusted``: kind of
    block -> whether what its attention had for the image's values were those."""

    source: Source
    rows: list[tuple[int, int]] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    text_tokens: int = 0
    fresh: bool = True
    trusted: dict[type, bool] = field(default_factory=dict)
    lost: bool = False  # a block was out of reach: the negative's text is not known after it

    @property
    def images(self) -> dict[int, int]:
        """Row of the call -> its image."""
        return dict(self.rows)

    @property
    def active(self) -> bool:
        return bool(self.rows) and self.strength > 0 and self.error is None


class JointTap:
    """The hooks of one block. ``layer``: in the report; None for a block that only carries the negative's text on to a
    guided one."""

    busy = False  # for all taps: modules run for the negative's text, which is no business of any tap

    def __init__(self, block: JointBlock, state: JointState, layer: Layer | None):
        self.block, self.state, self.layer = block, state, layer
        self._captured: dict[str, Tensor] = {}
        self._call: dict[str, Any] = {}
        self._handles: list[RemovableHandle] = []
        self._forward: Callable[..., Any] | None = None
        self._sharing: Sharing | None = None

    def install(self) -> None:
        """Put the hooks in place; once is enough."""
        if self._handles:
            return
        owner: nn.Module = self.block.block
        self._handles = [owner.register_forward_pre_hook(self._enter, with_kwargs=True)]
        for module, reader in self.block.captures:
            self._handles.append(module.register_forward_hook(self._capture(reader)))
        target = self.block.target
        if self.block.at_input:
            self._handles.append(target.register_forward_pre_hook(self._before_target))
        else:
            self._handles.append(target.register_forward_hook(self._after_target))
        self._forward = owner.forward = self._taken_apart(owner.forward)

    def remove(self) -> None:
        """Take the hooks away; harmless when there are none."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._captured.clear()
        self._call, self._sharing = {}, None
        owner: nn.Module = self.block.block
        if self._forward is not None and vars(owner).get("forward") is self._forward:
            unwrap(owner)
        self._forward = None

    # -- hooks ---

    @marked
    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._captured.clear()
        self._call = {}
        state = self.state
        if not state.active or state.lost:
            return
        try:
            if state.fresh:
                state.fresh = False
                state.source.begin(state)
                state.arguments = {}  # a ControlNet's, say, would lie beside the next call's
        except Exception as error:
            self.state.failed(error)
            return
        named = dict(zip(self.block.arguments, args, strict=False))
        self._call = {**named, **kwargs, "text_tokens": state.text_tokens}

    def _taken_apart(self, own: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            try:
                self._sharing = self._share()
            except Exception:  # it only saves time
                self._sharing = None
            if self._sharing is None:
                return own(*args, **kwargs)
            with self._sharing:
                return own(*args, **kwargs)

        return marked(forward)

    def _share(self) -> Sharing | None:
        """What takes the attention of this call apart, if that is of use."""
        state, block, call = self.state, self.block, self._call
        acts = bool(call) and state.active and state.scale != 1 and state.alpha > 0
        acts = acts and state.trusted.get(type(block), True)
        if not acts or not state.source.shares(block, call):
            return None
        entering = block.image_in(call)
        image = call[block.image_name] if entering is None else entering
        rows = [row for row, _ in state.rows]
        sharing = Sharing(rows, block.heads, state.text_tokens, image.shape[1], block.text_first)
        if type(block) in state.trusted:  # what was captured is not needed any more
            sharing.found = self._captured.clear
        return sharing

    def _capture(self, reader: Reader) -> Callable[..., None]:
        def capture(module: nn.Module, args: Any, output: Any) -> None:
            if self._call and not JointTap.busy:
                for name, tensor in reader(args, output).items():
                    self._captured.setdefault(name, tensor)

        return marked(capture)

    @marked
    def _before_target(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        guided = None if JointTap.busy else self._guide(args[0])
        return None if guided is None else (guided, *args[1:])

    @marked
    def _after_target(self, module: nn.Module, args: Any, output: Any) -> Any:
        return None if JointTap.busy else self._guide(output)

    # -- the rule ---

    def _guide(self, z: Tensor) -> Tensor | None:
        """The features with the guided ones in their place; None leaves them."""
        call, captured, sharing = self._call, self._captured, self._sharing
        self._call, self._captured, self._sharing = {}, {}, None
        if sharing is not None:
            sharing.over = True
        if not self.state.active or not call:
            return None
        JointTap.busy = True
        try:
            shared = None if sharing is None else sharing.part
            known = shared is not None and type(self.block) in self.state.trusted
            if len(captured) < 3 and not known:
                self.state.lost = True
                if self.layer is not None:
                    self.state.miss(self.layer)
                return None
            if shared is not None and not self._trusted(shared, captured, call):
                shared = None
            call = {name: brought(value, z.device) for name, value in call.items()}  # read before others moved them
            return self._guided(Met(z, captured, call, shared))
        except Exception as error:
            self.state.failed(error)
            return None
        finally:
            JointTap.busy = False

    def _trusted(self, shared: ImagePart, captured: dict[str, Tensor], call: dict[str, Any]) -> bool:
        """Whether its tokens are the image's: their values are compared once in a run, as that waits for the device."""
        kind, trusted = type(self.block), self.state.trusted
        if kind not in trusted:
            v = self.block.image_heads(captured, as_index(shared.rows, shared.v.device), call)[2]
            same = v.shape == shared.v.shape
            trusted[kind] = same and (v.is_meta or torch.equal(v.to(shared.v), shared.v))
        return trusted[kind]

    def _guided(self, met: Met) -> Tensor | None:
        state, layer, z = self.state, self.layer, met.z
        first, end = self.block.image(z, met.call)
        width = self.block.width  # where attention and feed-forward are one tensor, attention comes first
        out, effect = z, Effect()
        for negative in state.source.features(self.block, met):
            where = as_index(negative.rows, z.device)
            z_pos = goes_on = z[where, first:end, :width]
            if layer is not None:
                images = [state.images[row] for row in negative.rows]
                every = isinstance(where, slice) and z_pos.shape == z.shape
                if not every and out is z:
                    out = copy_as(z)
                into = out[where, first:end, :width] if isinstance(where, slice) and not every else None
                goes_on = state.guide(layer, negative.rows, images, z_pos, negative.z_neg, effect, into)
                if every:
                    out = goes_on
                elif into is None:
                    out[where, first:end, :width] = goes_on
            if negative.finish is not None:
                negative.finish(goes_on)
        if layer is None:
            return None
        state.note(layer, effect)
        return out
