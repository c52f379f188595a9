"""Hooks into the blocks of a transformer with joint attention: z_neg at every guided block, the negative's text
one block further at each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.hooks import RemovableHandle

from ..maths import normalized_guidance
from ..taps import marked
from .blocks import JointBlock, Reader, TextStream


@dataclass
class JointState:
    """What the taps read at each call. ``streams``: the negatives of the call in progress, made anew at the
    entrance of the model. ``changes``, ``missed``, ``error``: as in taps.CallState."""

    scale: float
    tau: float
    alpha: float
    strict: bool = False
    strength: float = 0.0
    step: int = 0
    streams: list[TextStream] = field(default_factory=list)
    changes: list[tuple[int, int, Tensor]] = field(default_factory=list)
    missed: dict[str, int] = field(default_factory=dict)
    error: BaseException | None = None

    @property
    def active(self) -> bool:
        return bool(self.streams) and self.strength > 0 and self.error is None


class JointTap:
    """The hooks of one block. ``index``: of the layer in the report; None for a block that only carries the
    text on to a guided one. ``weight``: share of the run's strength in this block."""

    def __init__(self, block: JointBlock, state: JointState, index: int | None, weight: float = 1.0):
        self.block, self.state, self.index, self.weight = block, state, index, weight
        self._captured: dict[str, Tensor] = {}
        self._call: dict[str, Any] = {}
        self._busy = False  # the negative's text goes through the same modules
        self._handles: list[RemovableHandle] = []

    def install(self, owner: nn.Module) -> None:
        """Put the hooks in place. ``owner``: the module whose forward gets the block's arguments."""
        if self._handles:
            return
        target = self.block.target
        self._handles = [owner.register_forward_pre_hook(self._enter, with_kwargs=True)]
        for module, reader in self.block.captures:
            self._handles.append(module.register_forward_hook(self._capture(reader)))
        if self.block.at_input:
            self._handles.append(target.register_forward_pre_hook(self._before_target))
        else:
            self._handles.append(target.register_forward_hook(self._after_target))

    def remove(self) -> None:
        """Take the hooks away; harmless when there are none."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._captured.clear()
        self._call = {}

    # -- hooks ---

    @marked
    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._captured.clear()
        self._call = {}
        if self.state.active:
            names = self.block.arguments
            tokens = self.state.streams[0].text_tokens
            self._call = {**dict(zip(names, args, strict=False)), **kwargs, "text_tokens": tokens}

    def _capture(self, reader: Reader) -> Callable[..., None]:
        def capture(module: nn.Module, args: Any, output: Any) -> None:
            if self._call and not self._busy:
                for name, tensor in reader(args, output).items():
                    self._captured.setdefault(name, tensor)

        return marked(capture)

    @marked
    def _before_target(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        guided = None if self._busy else self._guide(args[0])
        return None if guided is None else (guided, *args[1:])

    @marked
    def _after_target(self, module: nn.Module, args: Any, output: Any) -> Any:
        return None if self._busy else self._guide(output)

    # -- the rule ---

    def _guide(self, z: Tensor) -> Tensor | None:
        """The features with the guided ones in their place; None leaves them."""
        state, call, captured = self.state, self._call, self._captured
        self._call, self._captured = {}, {}
        if not state.active or not call:
            return None
        self._busy = True
        try:
            if len(captured) < 3:
                state.missed[self.block.name] = state.missed.get(self.block.name, 0) + 1
                state.streams = []  # without this block the text of the later ones would be wrong
                return None
            return self._guided(z, captured, call)
        except Exception as error:  # the user's picture goes on without us; the run tells
            if state.strict:
                raise
            state.error = error
            return None
        finally:
            self._busy = False

    def _guided(self, z: Tensor, captured: dict[str, Tensor], call: dict[str, Any]) -> Tensor | None:
        state = self.state
        strength = state.strength * self.weight
        first, end = self.block.image(z, call)
        width = self.block.width  # where attention and feed-forward are one tensor, attention comes first
        out, moved, size = z, [], []
        for stream in state.streams:
            rows = as_index(stream.rows, z.device)
            z_neg = self._advance(stream, captured, rows, call)
            if self.index is None:
                continue
            z_pos = z[rows, first:end, :width]
            guided = normalized_guidance(z_pos, z_neg, state.scale, state.tau, state.alpha, strength)
            moved.append((guided.float() - z_pos.float()).abs().sum())
            size.append(z_pos.float().abs().sum())
            out = z.clone() if out is z else out
            out[rows, first:end, :width] = guided
        if self.index is None:
            return None
        change = torch.stack(moved).sum() / torch.stack(size).sum().clamp_min(1e-30)
        state.changes.append((state.step, self.index, change.detach()))
        return out

    def _advance(
        self, stream: TextStream, captured: dict[str, Tensor], rows: Tensor | slice, call: dict[str, Any]
    ) -> Tensor:
        """z_neg of the image's tokens; moves the negative's text one block on."""
        block = self.block
        q, k, v = block.image_heads(captured, rows, call)
        text = block.open(stream, call)
        tokens = text.k.shape[2]
        keys, values = torch.cat([text.k, k], dim=2), torch.cat([text.v, v], dim=2)
        mask = None
        if stream.mask is not None:
            seen = torch.cat([stream.mask, stream.mask.new_ones(k.shape[0], k.shape[2])], dim=1)
            mask = seen[:, None, None, :]
        queries = q if block.last else torch.cat([text.q, q], dim=2)
        z = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        z = z.transpose(1, 2).flatten(2).to(q.dtype)
        if block.last:
            return z
        stream.text = block.close(stream, z[:, :tokens], text)
        return z[:, tokens:]


def as_index(rows: Sequence[int], device: torch.device) -> Tensor | slice:
    """A slice where the rows follow one another."""
    if tuple(rows) == tuple(range(rows[0], rows[0] + len(rows))):
        return slice(rows[0], rows[0] + len(rows))
    return torch.tensor(rows, device=device)
