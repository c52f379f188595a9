"""A hook that comes and goes with every guided step.

To register one takes torch longer than many a hook's work; so each is registered once, and then only its entry in
the module's table is made and taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Hook:
    """``function`` of ``module``: before its forward where ``before``, else after it."""

    def __init__(self, module: nn.Module, function: Callable[..., Any], before: bool = False):
        self.module = module
        self._function, self._before = function, before
        self._number: int | None = None

    def put(self) -> None:
        """In its place, behind those that are there; once is enough."""
        if self._number is None:
            register = self.module.register_forward_pre_hook if self._before else self.module.register_forward_hook
            self._number = register(self._function).id
        else:
            self._table.setdefault(self._number, self._function)

    def take(self) -> None:
        """Away; harmless where it is not there."""
        if self._number is not None:
            self._table.pop(self._number, None)

    @property
    def _table(self) -> dict[int, Callable[..., Any]]:
        return self.module._forward_pre_hooks if self._before else self.module._forward_hooks
