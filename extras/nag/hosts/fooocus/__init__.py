"""Fooocus has no loader of extensions: the lines of patch.py, added to four of its files, call what stands here.

``guided`` wraps ``process_diffusion``, ``NagTask`` carries a task's settings and reports, ``restored`` reads them from
a picture's metadata. The controls are in ui/fooocus_panel.py. Nothing is imported before it is asked for: the lines
are put in by a Python that may have no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sampling import guided
    from .task import CONTROLS, NagTask, last_report, logged, restored

_HOME = {
    "CONTROLS": "task",
    "NagTask": "task",
    "guided": "sampling",
    "last_report": "task",
    "logged": "task",
    "restored": "task",
}

__all__ = ["CONTROLS", "NagTask", "guided", "last_report", "logged", "restored"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
