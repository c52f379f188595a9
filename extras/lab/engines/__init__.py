"""What draws the pictures. An engine takes groups of cells and gives results back in any order, a group at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from ..cells import Cell, Checkpoint


@dataclass
class Result:
    """A drawn picture, or why there is none. ``seconds``: of this picture; ``memory_mb``: the peak while it was drawn
    (GPU, else the process); None: not known."""

    cell: Cell
    image: Image.Image | None = None
    infotext: str = ""
    seconds: float | None = None
    memory_mb: float | None = None
    error: str | None = None


class Engine(Protocol):
    """``name``: in the results. ``versions``: of what decides the pixels."""

    name: str

    def versions(self) -> dict[str, str]: ...

    def checkpoint(self, name: str) -> Checkpoint:
        """The file behind a plan's name. LabError where there is none."""

    def draw(self, groups: Iterable[list[Cell]]) -> Iterator[list[Result]]:
        """Results group by group as they are ready. A picture that fails is a Result with an error; LabError where
        nothing can be drawn at all."""

    def close(self) -> None: ...
