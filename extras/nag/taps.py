"""Hooks into attention layers, instead of copies of their forward.

A hook on ``to_q`` sees the queries; a pre-hook on ``to_out[0]`` sees the attention's result as the host
computed it, whatever kernel or patch was at work, and returns the guided features in its place. Not on
``to_out``: some attention optimisers call its members one by one. Weights are never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .branches import Branch, RowGroup
from .layers import Layer
from .maths import normalized_guidance

_MARK = "nag_time_tap"
_HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class CallState:
    """What the taps read at each call; a Run writes it, once per step (``strength``, ``step``) and model call
    (``groups``). ``changes``: (step, layer index, relative change on the device), read once at the end."""

    branch: Branch
    scale: float
    tau: float
    alpha: float
    strict: bool = False
    strength: float = 0.0
    step: int = 0
    groups: list[RowGroup] = field(default_factory=list)
    batch: int = 0  # smallest batch the groups fit into
    changes: list[tuple[int, int, Tensor]] = field(default_factory=list)
    missed: dict[str, int] = field(
        default_factory=dict
    )  # layer name -> calls in which guidance was not possible
    error: BaseException | None = None


def _marked(function: F) -> F:
    setattr(function, _MARK, True)
    return function


class Tap:
    """The pair of hooks of one layer."""

    def __init__(self, layer: Layer, state: CallState):
        self.layer, self.state = layer, state
        self._query: Tensor | None = None
        self._handles: list[RemovableHandle] = []

    def install(self) -> None:
        """Put the hooks in place; once is enough."""
        if not self._handles:
            attn = self.layer.attn
            to_q, out = attn.to_q, _projection(attn.to_out)
            self._handles.append(to_q.register_forward_hook(self._see_query))
            self._handles.append(out.register_forward_pre_hook(self._guide))

    def remove(self) -> None:
        """Take the hooks away; harmless when there are none."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._query = None

    @_marked
    def _see_query(self, module: nn.Module, args: Any, output: Any) -> None:
        self._query = output if self.state.groups and isinstance(output, Tensor) else None

    @_marked
    def _guide(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        state, query, self._query = self.state, self._query, None
        if not state.groups or state.strength <= 0 or state.error is not None:
            return None
        try:
            z_pos = args[0]
            if query is None or query.shape[:2] != z_pos.shape[:2] or z_pos.shape[0] < state.batch:
                state.missed[self.layer.name] = state.missed.get(self.layer.name, 0) + 1
                return None
            return (self._guided(z_pos, query), *args[1:])
        except Exception as error:  # the user's picture goes on without us; the run tells
            if state.strict:
                raise
            state.error = error
            return None

    def _guided(self, z_pos: Tensor, query: Tensor) -> Tensor:
        state = self.state
        out = z_pos
        moved: list[Tensor] = []
        size: list[Tensor] = []
        for group in state.groups:
            where = group.where(z_pos.device)
            rows = z_pos[where]
            z_neg = state.branch.features(self.layer, query[where], group)
            guided = normalized_guidance(rows, z_neg, state.scale, state.tau, state.alpha, state.strength)
            moved.append((guided.float() - rows.float()).abs().sum())
            size.append(rows.float().abs().sum())
            if isinstance(where, slice) and len(group.rows) == z_pos.shape[0]:
                out = guided
            else:
                out = z_pos.clone() if out is z_pos else out
                out[where] = guided
        change = torch.stack(moved).sum() / torch.stack(size).sum().clamp_min(1e-30)
        state.changes.append((state.step, self.layer.index, change.detach()))
        return out


def remove_leftovers(model: nn.Module) -> int:
    """Remove the taps an earlier run has left anywhere in ``model``; returns how many there were."""
    found = 0
    for module in model.modules():
        for table_name in _HOOK_TABLES:
            table = getattr(module, table_name)
            for key in [k for k, hook in table.items() if getattr(hook, _MARK, False)]:
                del table[key]
                found += 1
    return found


def count_taps(model: nn.Module) -> int:
    """Hooks of ours in ``model`` now: 0 whenever no guided step is in progress."""
    hooks = (hook for m in model.modules() for name in _HOOK_TABLES for hook in getattr(m, name).values())
    return sum(bool(getattr(hook, _MARK, False)) for hook in hooks)


def _projection(to_out: Any) -> nn.Module:
    return to_out[0] if isinstance(to_out, (nn.Sequential, nn.ModuleList)) else to_out
