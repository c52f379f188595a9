"""Image prompts (IP-Adapter) in a diffusers pipeline. They add to the attention over the text, and the negative has no
such part: guided too, they would grow with the scale."""

from __future__ import annotations

from typing import Any

from ..guidance import Guidance
from ..layers import Layer
from ..run import Run

NOT_APART = "IP-Adapter: what the image prompt adds to the attention of {count} layers is guided too"
_ADDS_BEFORE = "SD3"  # in Flux the block adds it later, out of reach of guidance


def keep_apart(guidance: Guidance) -> None:
    """Before a guided call: what image prompts add is to keep its own strength."""
    for run in guidance.runs:
        prompted = [layer for layer in run.layers if _has_image_prompt(layer)]
        if isinstance(run, Run):
            run.separate({layer.index for layer in prompted if layer.kind == "cross"})
            continue
        mixed = [layer for layer in prompted if _processor(layer).startswith(_ADDS_BEFORE)]
        if mixed:
            run.warn(NOT_APART.format(count=len(mixed)))


def tell_mixed(guidance: Guidance) -> None:
    """After a generation: where they could not be told apart."""
    for run in guidance.runs:
        if isinstance(run, Run) and run.mixed:
            run.warn(NOT_APART.format(count=len(run.mixed)))


def _has_image_prompt(layer: Layer) -> bool:
    """Told by diffusers' names, and by the weights that every such processor has."""
    processor: Any = getattr(layer.module, "processor", None)
    return "IPAdapter" in _processor(layer) or hasattr(processor, "to_k_ip")


def _processor(layer: Layer) -> str:
    return type(getattr(layer.module, "processor", None)).__name__
