"""From a host's answer to results: the pictures that were asked for, and whether guidance did what the plan says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from extras.nag.schedule import ranges

from ..cells import Cell
from . import Result


def results_of(
    group: Sequence[Cell],
    images: Sequence[Image.Image],
    infotexts: Sequence[str],
    seconds: float,
    memory_mb: float | None,
) -> list[Result]:
    """One result a cell. ``images``: the last `batch` of them are the block's, by seed (a grid may stand before)."""
    batch = group[0].spec["batch"]
    if len(images) < batch:
        return failed(group, f"{len(images)} pictures came back, {batch} were asked for")
    images, infotexts = list(images)[-batch:], list(infotexts)[-batch:]
    made = []
    for cell in group:
        at = cell.spec["seed"] % batch
        text = infotexts[at] if at < len(infotexts) else ""
        error = _trouble(cell, text)
        if error:
            made.append(Result(cell, error=error))
        else:
            made.append(Result(cell, images[at], text, seconds / batch, memory_mb))
    return made


def failed(group: Sequence[Cell], error: str) -> list[Result]:
    """The whole group failed, for one reason."""
    return [Result(cell, error=error) for cell in group]


def _trouble(cell: Cell, text: str) -> str | None:
    """Why this picture is not what its address says; None where it is."""
    fields = _fields(text)
    if "NAG error" in fields:
        return fields["NAG error"]
    if not cell.guided:
        return None
    told = fields.get("NAG guided steps", "").partition(" of ")[0].replace(" ", "")
    wanted = ranges(list(cell.guided)).replace(" ", "")
    if told == wanted:
        return None
    return f"steps {wanted} were to be guided, the host says: {told or fields.get('NAG warning', 'none')}"


def _fields(text: str) -> dict[str, str]:
    """The NAG fields of an infotext's last line."""
    found: dict[str, Any] = {}
    for match in re.finditer(r"(NAG [\w ]+): (\"(?:\\.|[^\"\\])*\"|[^,\n]*)", text.rpartition("\n")[2]):
        value = match[2].strip()
        found[match[1]] = value[1:-1] if value.startswith('"') else value
    return found
