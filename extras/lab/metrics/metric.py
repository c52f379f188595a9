"""What a metric is, and what stands where one cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

Spec = Mapping[str, Any]
"""What a picture was made from: prompt, negative, target, subject; and how to measure: detector, clip, lpips."""


@dataclass(frozen=True)
class Absent:
    """There is no number, for this reason. Never stored as 0."""

    reason: str


NO_TWIN = Absent("no untreated picture to compare with")


@dataclass(frozen=True)
class Metric:
    """One number of one picture. better: "higher", "lower" or "" (neither); bounds: what values it can take."""

    name: str
    label: str
    better: str
    bounds: tuple[float, float] | None
    help: str
    measure: Callable[[Image.Image, Image.Image | None, Spec], float | Absent]
    needs_twin: bool = True

    def per_image(self, picture: Image.Image, untreated: Image.Image | None, spec: Spec) -> float | Absent:
        """The number of a picture, untreated being the picture of the same model, prompt and seed with guidance off."""
        if self.needs_twin and untreated is None:
            return NO_TWIN
        if untreated is not None and picture.size != untreated.size:
            return Absent(f"the pictures differ in size: {picture.size} and {untreated.size}")
        return self.measure(picture, untreated, spec)
