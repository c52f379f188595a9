"""What a metric is, and what stands where one cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


OfPicture = Callable[[Image.Image, "Image.Image | None", Spec], "float | Absent"]
OfSet = Callable[
    [Sequence[Image.Image], Sequence[Image.Image], "str | None", "Sequence[object] | None"], "float | Absent"
]


@dataclass(frozen=True)
class Metric:
    """One number, of a picture or of a set of pictures. better: "higher", "lower" or "" (neither); bounds: what values
    it can take.

    per_image(picture, untreated, spec), None for numbers of sets. untreated: the picture of the same model, prompt and
    seed with guidance off, None where this is that one.
    per_set(pictures, untreated, extractor, prompts), None for numbers of pictures. The two sets in one order; prompts:
    what each picture shows. See extractors.py for the names of extractors.
    """

    name: str
    label: str
    better: str
    bounds: tuple[float, float] | None
    help: str
    per_image: OfPicture | None = None
    per_set: OfSet | None = None


def to_twin(measure: OfPicture) -> OfPicture:
    """A measure that compares with the untreated picture: absent without it, or where the sizes differ."""

    def compare(picture: Image.Image, untreated: Image.Image | None, spec: Spec) -> float | Absent:
        if untreated is None:
            return NO_TWIN
        if picture.size != untreated.size:
            return Absent(f"the pictures differ in size: {picture.size} and {untreated.size}")
        return measure(picture, untreated, spec)

    return compare
