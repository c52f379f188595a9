"""Which methods the settings switch on, each with its window, before any model is at hand: what a plot shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .fields import FIELDS, WINDOWS
from .schedule import Resolved, Schedule, lowered_cfg
from .settings import Settings

NAG, TPG = "NAG", "TPG"


@dataclass(frozen=True)
class Window:
    """``name`` of the method; its ``schedule``."""

    name: str
    schedule: Schedule


def windows_of(settings: Settings) -> list[Window]:
    """The methods that are switched on, NAG first, with their windows."""
    return [Window(_name(prefix), settings.schedule(prefix)) for prefix in WINDOWS if _is_on(settings, prefix)]


def cfg_scales(settings: Settings, resolved: dict[str, Resolved], cfg: float) -> list[float]:
    """The CFG scale of each step: lowered in the cooldown, 1 where TPG acts alone. ``resolved``: the windows on one
    grid, by method."""
    some = next(iter(resolved.values()))
    scales = []
    for i in range(len(some.times)):
        scale = cfg
        for each in resolved.values():
            scale = lowered_cfg(scale, each.cfg_factor[i])
        alone = settings.tpg_mode == "alone" and TPG in resolved and resolved[TPG].strength[i] > 0
        scales.append(1.0 if alone else scale)
    return scales


def no_effect(settings: Settings, windows: Sequence[Window]) -> list[str]:
    """The fields whose value makes NAG change nothing though it is on."""
    on = any(window.name == NAG for window in windows)
    return [name for name, off in (("scale", 1.0), ("alpha", 0.0)) if on and getattr(settings, name) == off]


def _is_on(settings: Settings, prefix: str) -> bool:
    if not prefix:
        return settings.nag
    lowest = FIELDS[f"{prefix}scale"].minimum
    assert lowest is not None
    return bool(getattr(settings, f"{prefix}scale") > lowest)


def _name(prefix: str) -> str:
    return FIELDS[f"{prefix}scale"].label.removesuffix(" scale") if prefix else NAG
