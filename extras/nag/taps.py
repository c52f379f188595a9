"""Hooks into attention layers, instead of copies of their forward.

A hook on ``to_q`` sees the queries, one on ``to_v`` the values; a pre-hook on ``to_out[0]`` sees the attention's result
as the host computed it, whatever kernel or patch was at work, and returns the guided features in its place. Not on
``to_out``: some attention optimisers call its members one by one. On a CPU a hook on ``to_k`` has the prompt's keys
filled up as the negative's are, which pays for half of the second attention. Weights are never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from .adaptive import Adaptive
from .branches import Branch, RowGroup
from .branches.padding import filling
from .effect import Effect
from .hooks import Hook
from .layers import Layer
from .layout import copy_as
from .maths import normalized_guidance
from .part import PartState

_MARK = "nag_time_tap"
_HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks")
F = TypeVar("F", bound=Callable[..., Any])
TextPart = Callable[[Tensor, "slice | Tensor"], "Tensor | None"]  # (queries of rows, which rows) -> features, if known


@dataclass(kw_only=True)
class RuleState(PartState):
    """Of a method that guides features by the rule of maths.py: its s, tau and alpha."""

    scale: float
    tau: float
    alpha: float
    adaptive: Adaptive = field(default_factory=lambda: Adaptive(0.0))

    @property
    def neutral(self) -> bool:
        """Do the numbers leave the features as they are?"""
        return self.scale == 1.0 or self.alpha == 0.0

    def guide(
        self,
        layer: Layer,
        rows: Sequence[int],
        images: Sequence[int],
        z_pos: Tensor,
        z_neg: Tensor,
        effect: Effect,
        into: Tensor | None = None,
    ) -> Tensor:
        """``z_pos`` (rows, tokens, width) guided with the strength of this step and layer; ``rows``: of the call,
        ``images``: the image of each. ``effect``, ``into``: as of normalized_guidance()."""
        factor = self.adaptive.factor(layer, images, z_pos, z_neg, learn=self.counting)
        strength = factor * (self.strength * layer.strength)
        numbers = (self.scale, self.tau, self.alpha, strength)
        guided = normalized_guidance(z_pos, z_neg, *numbers, effect, into, self.kernel)
        self.draw(rows, guided, z_pos)
        return guided


@dataclass(kw_only=True)
class CallState(RuleState):
    """What the taps read at each call; a Run writes it, once per step and model call (``groups``)."""

    branch: Branch
    groups: list[RowGroup] = field(default_factory=list)
    batch: int = 0  # smallest batch the groups fit into
    mixed: set[int] = field(default_factory=set)  # layers (index) in which the text's part could not be told apart

    @property
    def acts(self) -> bool:
        """Is there something to be done in the call in progress?"""
        return bool(self.groups) and self.strength > 0 and self.error is None

    def fits(self, rows: int) -> bool:
        """Can that be the call in progress?"""
        return rows >= self.batch and rows == (self.total or rows)

    def changes_all(self, rows: int) -> bool:
        """Is each of its rows guided, and by more than nothing?"""
        guided = sum(len(group.rows) for group in self.groups)
        return self.acts and not self.neutral and self.fits(rows) and guided == rows


def marked(function: F) -> F:
    """A hook of ours, to be found again by remove_leftovers()."""
    setattr(function, _MARK, True)
    return function


class Tap:
    """The hooks of one layer."""

    def __init__(self, layer: Layer, state: CallState):
        self.layer, self.state = layer, state
        self.text_part: TextPart | None = None  # of z_pos, where others add to it
        self._seen: Tensor | None = None
        self._hooks: list[Hook] = []
        self._placed = False

    def install(self) -> None:
        """Put the hooks in place; once is enough."""
        if self._placed:
            return
        attn = self.layer.attn
        source, out = _part(attn, self.state.branch.source), projection(_part(attn, "to_out"))
        if not self._hooks or self._hooks[0].module is not source or self._hooks[1].module is not out:
            self._hooks = [Hook(source, self._see), Hook(out, self._guide, before=True)]
            if self.layer.kind == "cross" and _on_cpu(attn.to_k):
                self._hooks.append(Hook(attn.to_k, self._fill))
        self._placed = True
        for hook in self._hooks:
            hook.put()

    def remove(self) -> None:
        """Take the hooks away; harmless when there are none."""
        self._placed = False
        for hook in self._hooks:
            hook.take()
        self._seen = None

    @marked
    def _see(self, module: nn.Module, args: Any, output: Any) -> None:
        self._seen = output if self.state.groups and isinstance(output, Tensor) else None

    @marked
    def _fill(self, module: nn.Module, args: Any, keys: Any) -> Any:
        """In a call all of whose rows are guided: what is not guided stays the host's to the bit. The negative's keys,
        in _guide(), come when nothing is seen any more."""
        state, seen = self.state, self._seen
        try:
            if seen is None or not isinstance(keys, Tensor) or not state.changes_all(seen.shape[0]):
                return None
            return filling(keys)
        except Exception as error:
            state.failed(error)
            return None

    @marked
    def _guide(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        state, seen, self._seen = self.state, self._seen, None
        try:
            if not state.acts:
                return None
            z_pos = args[0]
            if seen is None or seen.shape[:2] != z_pos.shape[:2] or not state.fits(z_pos.shape[0]):
                state.miss(self.layer)
                return None
            return (self._guided(z_pos, seen), *args[1:])
        except Exception as error:
            state.failed(error)
            return None

    def _guided(self, z_pos: Tensor, seen: Tensor) -> Tensor:
        state, layer = self.state, self.layer
        out, effect = z_pos, Effect()
        if self.text_part is None and len(state.groups) == 1 and state.groups[0].covers(z_pos.shape[0]):
            group = state.groups[0]  # the common case, in few steps
            z_neg = state.branch.features(layer, seen, z_pos, group)
            out = state.guide(layer, group.rows, group.images, z_pos, z_neg, effect)
            state.note(layer, effect)
            return out
        for group in state.groups:
            where = group.where(z_pos.device)
            every = group.covers(z_pos.shape[0])
            rows = whole = z_pos if every else z_pos[where]
            queries = seen if every else seen[where]
            if self.text_part is not None:
                text = self.text_part(queries, where)
                if text is None:
                    state.mixed.add(layer.index)
                else:
                    rows = text
            z_neg = state.branch.features(layer, queries, rows, group)
            if not every and out is z_pos:
                out = copy_as(z_pos)
            into = out[where] if isinstance(where, slice) and not every and rows is whole else None
            guided = state.guide(layer, group.rows, group.images, rows, z_neg, effect, into)
            if rows is not whole:  # what others add keeps its own strength
                guided = whole + (guided - rows)
            if every:
                out = guided
            elif into is None:
                out[where] = guided
        state.note(layer, effect)
        return out


def _part(attn: nn.Module, name: str) -> nn.Module:
    """A module of ``attn``, by the short way where there is one: it is asked for at every step."""
    part = attn._modules.get(name)
    return getattr(attn, name) if part is None else part


def _on_cpu(module: nn.Module) -> bool:
    return any(weight.device.type == "cpu" for weight in module.parameters())


def remove_leftovers(model: nn.Module) -> int:
    """Remove the taps an earlier run has left anywhere in ``model``; returns how many there were."""
    found = 0
    for module in model.modules():
        for table_name in _HOOK_TABLES:
            table = getattr(module, table_name)
            for key in [k for k, hook in table.items() if getattr(hook, _MARK, False)]:
                del table[key]
                getattr(module, f"{table_name}_with_kwargs").pop(key, None)
                found += 1
        if getattr(vars(module).get("forward"), _MARK, False):
            unwrap(module)
            found += 1
    return found


def unwrap(module: nn.Module) -> None:
    """Give a module the ``forward`` back that one of ours (made with functools.wraps) has replaced."""
    own = getattr(module.forward, "__wrapped__")  # noqa: B009
    if own == type(module).forward.__get__(module):
        del module.forward
    else:
        module.forward = own


def count_taps(model: nn.Module) -> int:
    """Hooks of ours in ``model`` now: 0 whenever no guided step is in progress."""
    modules = list(model.modules())
    hooks = [hook for m in modules for name in _HOOK_TABLES for hook in getattr(m, name).values()]
    hooks += [vars(m).get("forward") for m in modules]
    return sum(bool(getattr(hook, _MARK, False)) for hook in hooks)


def projection(to_out: Any) -> nn.Module:
    """The module at which an attention layer's result is seen."""
    return next(iter(to_out._modules.values())) if isinstance(to_out, (nn.Sequential, nn.ModuleList)) else to_out
