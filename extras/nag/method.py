"""What makes a method in attention space, and NAG itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .branches import Branch
from .branches.text import TextBranch
from .schedule import Schedule
from .settings import Settings

NAG = "NAG"


@dataclass(frozen=True)
class Method:
    """``name``: in reports. ``branch``: makes the source of z_neg. ``scale``: s of normalized_guidance (1 = no
    guidance); ``shown``: the user's number behind it. ``layers``: selector; ``field``: the option it came from."""

    name: str
    branch: Callable[[], Branch]
    scale: float
    shown: float
    tau: float
    alpha: float
    layers: str
    field: str
    schedule: Schedule


def nag(settings: Settings) -> Method:
    """Normalized Attention Guidance against a text (arXiv 2505.21179)."""
    rule = (settings.scale, settings.scale, settings.tau, settings.alpha)
    return Method(NAG, TextBranch, *rule, settings.layers, "layers", settings.schedule())
