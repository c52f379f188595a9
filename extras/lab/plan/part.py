"""What every part of a plan is made by: no unknown field, no change afterwards, and errors that know their place."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class At(ValueError):
    """An error at ``place``, seen from the part that is being checked."""

    def __init__(self, text: str, *place: str | int):
        super().__init__(text)
        self.place = place


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
