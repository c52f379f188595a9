"""Raises an exception at the n-th call of any function of NAG Time, without touching its code.

A trace function sees every call of the thread; where it raises, the called function fails before its first
line. So no list of what can be patched is needed: whatever a picture calls can be made to fail. That is a
fault which happens once; always() makes a function fail every time, as a mistake in the code would.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
from types import FunctionType

PACKAGE = "extras.nag."
_OTHERS = "extras.nag.presetbook", "extras.nag.ui.panel", "extras.nag.ui.plot"  # not part of a picture's way
ENTRIES = {
    "_see", "_fill", "_guide", "_before_forward", "_host_call", "modify", "sample", "close_and_tell",  # model and job
    "_see_text", "_see_begin", "_see_keys", "__torch_function__",
    "on_cfg_denoiser", "on_cfg_after_cfg", "guarded", "__getitem__",  # called where the host swallows what is raised
}  # fmt: skip
"""Functions that the host itself calls. An exception before their first line comes from outside of any guard of
ours; whatever they call is in the tests."""


class InjectedFault(RuntimeError):
    """A fault that a test asked for."""


def _fail(*args, **kwargs):
    raise RuntimeError("a fault of ours")


def name_of(code, names) -> str | None:
    """``extras.nag.run:begin@56`` (module, function, line) of a function's code and its module's names, or None
    for what is not ours or has no name of its own."""
    module = names.get("__name__") or ""
    if not module.startswith(PACKAGE) or module in _OTHERS or code.co_name.startswith("<"):
        return None
    if not code.co_flags & inspect.CO_OPTIMIZED:  # the body of a class, while its module is imported
        return None
    return f"{module}:{code.co_name}@{code.co_firstlineno}"


def is_entry(name: str) -> bool:
    """True for a function that the host calls."""
    return name.split(":")[1].split("@")[0] in ENTRIES


class Tracer:
    """``counts``: calls of each of our functions since start(). ``fired``: the fault has been raised, and in ``stack``
    are the names of the functions that were running then.

    start(name, call) raises at the ``call``-th call (from 1) of ``name``; start() only counts. stop() ends it; a
    trace that was left behind in another thread ends itself at its next call.
    """

    def __init__(self, text: str = "a fault of ours"):
        self.text = text
        self.counts: dict[str, int] = {}
        self.fired = False
        self.stack: list[str] = []
        self._names: dict[object, str | None] = {}
        self._target: str | None = None
        self._call = 0
        self._turn = 0

    def start(self, name: str | None = None, call: int = 1) -> None:
        self.counts, self.fired, self._target, self._call = {}, False, name, call
        self._turn += 1
        turn = self._turn

        def trace(frame, event, argument):
            if turn != self._turn:
                sys.settrace(None)
                return None
            self._see(frame)
            return None

        sys.settrace(trace)

    def stop(self) -> None:
        self._turn += 1
        sys.settrace(None)

    def _see(self, frame) -> None:
        code = frame.f_code
        if code not in self._names:
            self._names[code] = name_of(code, frame.f_globals)
        name = self._names[code]
        if name is None:
            return
        count = self.counts[name] = self.counts.get(name, 0) + 1
        if name == self._target and count == self._call:
            self.fired = True
            self.stack = []
            while frame is not None:
                self.stack.append(frame.f_code.co_name)
                frame = frame.f_back
            raise InjectedFault(self.text)


_known: dict[str, list[FunctionType]] = {}


@contextlib.contextmanager
def always(name: str):
    """While open, every call of our function ``name`` fails. Yields how many functions bear that name: 0 where
    it is a closure, which cannot be broken so."""
    if not _known:
        for thing in gc.get_objects():
            if type(thing) is FunctionType and (its := name_of(thing.__code__, thing.__globals__)):
                _known.setdefault(its, []).append(thing)
    found = [(f, f.__code__) for f in _known.get(name, []) if not f.__code__.co_freevars]
    for function, _ in found:
        function.__code__ = _fail.__code__
    try:
        yield len(found)
    finally:
        for function, code in found:
            function.__code__ = code
