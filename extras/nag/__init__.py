"""Normalized Attention Guidance, gated in time: the library. Needs torch; diffusers only for guide()."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hosts.diffusers import guide
    from .layers import Layer, LayerError, find_layers, select
    from .maths import normalized_guidance
    from .report import Report
    from .run import Run
    from .schedule import Resolved, Schedule
    from .settings import FIELDS, Settings, SettingsError

_HOME = {
    "FIELDS": "settings",
    "Layer": "layers",
    "LayerError": "layers",
    "Report": "report",
    "Resolved": "schedule",
    "Run": "run",
    "Schedule": "schedule",
    "Settings": "settings",
    "SettingsError": "settings",
    "find_layers": "layers",
    "guide": "hosts.diffusers",
    "normalized_guidance": "maths",
    "select": "layers",
}

__all__ = [
    "FIELDS",
    "Layer",
    "LayerError",
    "Report",
    "Resolved",
    "Run",
    "Schedule",
    "Settings",
    "SettingsError",
    "find_layers",
    "guide",
    "normalized_guidance",
    "select",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that settings and schedule cost no torch and only guide() needs diffusers."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
