"""torch.compile: compiled code calls no hooks that came after it, so guided steps run the network as it is written.

Steps that are not guided run compiled, and give the very picture that they gave without us.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

NOTE = "the network is compiled: guided steps run it uncompiled, as compiled code calls no hooks"
Call = Callable[..., Any]
_OURS = "nag_time_call"


def ours(function: Call) -> Call:
    """A function that may stand in a slot, and is not compiled code itself."""
    setattr(function, _OURS, True)
    return function


@dataclass(frozen=True)
class Slot:
    """Where a module keeps compiled code: by torch.compile(module), module.compile(), or
    module.forward = torch.compile(module.forward). ``written``: does the same as it is written."""

    module: nn.Module
    name: str
    compiled: Call
    written: Call

    @property
    def hooks_run(self) -> bool:
        """Do the module's own hooks run around the compiled code?"""
        return self.name == "forward"

    def put(self, call: Call | None) -> None:
        """Call this instead; None: the module's own way."""
        vars(self.module)[self.name] = call

    def restore(self) -> None:
        """Compiled again. Any number of times."""
        self.put(self.compiled)


def slot_of(module: nn.Module) -> Slot | None:
    """Of the module itself, whatever its submodules are; None where it is not compiled, or where a function of ours is
    in that place."""
    whole = getattr(module, "_compiled_call_impl", None)
    if whole is not None:
        return None if hasattr(whole, _OURS) else Slot(module, "_compiled_call_impl", whole, module._call_impl)
    own: Any = vars(module).get("forward")
    if own is None or hasattr(own, _OURS):
        return None
    inner = module._modules.get("_orig_mod")
    written = inner if type(module).__name__ == "OptimizedModule" else getattr(own, "_torchdynamo_orig_callable", None)
    return None if written is None else Slot(module, "forward", own, written)


class AsWritten:
    """Everything compiled in ``model``, itself or parts of it."""

    def __init__(self, model: nn.Module):
        self._slots = [slot for slot in map(slot_of, model.modules()) if slot is not None]

    @property
    def found(self) -> bool:
        """Is anything compiled?"""
        return bool(self._slots)

    def begin(self) -> None:
        """From now on all runs as written."""
        for slot in self._slots:
            slot.put(slot.written if slot.hooks_run else None)

    def end(self) -> None:
        """All is compiled again. Any number of times."""
        for slot in self._slots:
            slot.restore()
