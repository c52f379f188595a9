"""What is asked of the pictures: the hypotheses, how it is measured, what a search seeks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from extras.nag.fields import check_values

from .part import Part


class Hypothesis(Part):
    """A question that the plan asks before it is run. ``treatment``, ``control``: a role, an arm, a family, or
    "untreated". ``outcome``: a metric. ``test``: superiority, non-inferiority (against the plan's margin of the
    outcome), or frontier (at matched ``preservation``, another metric)."""

    id: str
    question: str
    treatment: str
    control: str
    outcome: str
    test: Literal["superiority", "non-inferiority", "frontier"] = "superiority"
    preservation: str = ""
    models: list[str] = Field(default_factory=list)


class Search(Part):
    """What `lab search` varies: ranges of the strengths, and windows of one or more steps in a row. It seeks more
    ``outcome`` and more ``preservation`` (metrics), on ``seeds`` pictures of every pair."""

    scale: tuple[float, float] = (2.0, 16.0)
    alpha: tuple[float, float] = (0.2, 1.0)
    tau: tuple[float, float] = (2.5, 2.5)
    outcome: str = "clean"
    preservation: str = "ssim_background"
    seeds: int = Field(default=1, ge=1, le=1000)

    @field_validator("scale", "alpha", "tau")
    @classmethod
    def _in_range(cls, value: tuple[float, float], info: Any) -> tuple[float, float]:
        check_values({info.field_name: value[0]})
        check_values({info.field_name: value[1]})
        if value[1] < value[0]:
            raise ValueError(f"{list(value)} is not possible, allowed: [lowest, highest]")
        return value


class Measure(Part):
    """How it is measured. ``detector``: "doodle" (pixels of our small models), or the folder of a zero-shot detector;
    ``clip``: folder of a CLIP checkpoint; ``lpips``: its weights; ``extractor``: of the numbers of sets: "grid" or the
    folder of a vision model. What is not named is absent, with that reason."""

    detector: str = "doodle"
    clip: str = ""
    lpips: str = ""
    extractor: str = "grid"
