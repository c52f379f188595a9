"""What is drawn: the models, the prompts with what is not to be in their pictures, the seeds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from .part import Part

TARGET = "target"
"""As a negative: the pair's own."""


class Model(Part):
    """A checkpoint and how it is sampled. ``batch``: pictures drawn at once; it belongs to the picture's address, as
    the last bit of a pixel depends on it."""

    checkpoint: str = Field(min_length=1)
    steps: int = Field(ge=1, le=150)
    cfg: float = Field(default=1.0, ge=1, le=30)
    sampler: str = "Euler"
    scheduler: str = "Automatic"
    width: int = Field(default=512, ge=64, le=2048, multiple_of=8)
    height: int = Field(default=512, ge=64, le=2048, multiple_of=8)
    batch: int = Field(default=1, ge=1, le=64)
    clip_skip: int = Field(default=1, ge=1, le=12)
    append: str = Field(default="", max_length=500)


class Pair(Part):
    """A prompt, and the thing that is not to be in its picture. ``negative``: how the thing is named to the model
    (default: ``target``). ``subject``: what must stay, in words of the detector."""

    id: str
    prompt: str = Field(min_length=1, max_length=5000)
    target: str = Field(min_length=1, max_length=500)
    negative: str = ""
    subject: str = ""

    @property
    def negative_text(self) -> str:
        return self.negative or self.target


Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Seeds(Part):
    """``count`` seeds from ``first`` on; or, in a plan ``seeds: [42, 1337]``, those of ``these``."""

    first: Seed = 0
    count: int = Field(ge=1, le=100_000)
    these: tuple[Seed, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        if not isinstance(given, list):
            return given
        if len(set(map(repr, given))) < len(given):
            raise ValueError("a seed stands there twice")
        return {"these": given, "count": len(given)}

    @property
    def values(self) -> list[int]:
        return list(self.these) or list(range(self.first, self.first + self.count))

    def at_most(self, count: int) -> Seeds:
        """The first of them."""
        return Seeds.model_validate(self.values[:count])


def negative_of(text: str, pair: Pair) -> str:
    """A negative of the plan, in words: "target" stands for the pair's own."""
    return pair.negative_text if text == TARGET else text
