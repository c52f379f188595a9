"""From a host's answer to results: the pictures that were asked for, and whether guidance did what the plan says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
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
    told = _other_model(cell, fields)
    if told:
        return f"it was to be drawn with {cell.spec['checkpoint']}, the host says: {told} (its own log says why)"
    if not cell.guided:
        return None
    told = fields.get("NAG guided steps", "").partition(" of ")[0].replace(" ", "")
    wanted = ranges(list(cell.guided)).replace(" ", "")
    if told == wanted:
        return None
    return f"steps {wanted} were to be guided, the host says: {told or fields.get('NAG warning', 'none')}"


def _other_model(cell: Cell, fields: dict[str, str]) -> str | None:
    """The model that drew where it is not the cell's; None where it is, or the host does not tell. A host that cannot
    load a checkpoint may answer as if nothing were wrong, and draw with the one it had."""
    name, digest = fields.get("Model"), fields.get("Model hash")
    refiner = re.fullmatch(r"(.*?)(?: \[(\w+)\])?", fields.get("Refiner", ""))
    if refiner and refiner[1]:  # a hand-off: the first steps are another model's
        name, digest = refiner[1], refiner[2]
    wanted, known = PurePath(cell.spec["checkpoint"]).name.removesuffix(".safetensors"), cell.spec["sha256"]
    if digest and known:
        same = known.startswith(digest) or digest.startswith(known)
    else:
        same = name is None or wanted == PurePath(name).name or wanted.endswith(f"_{name}")
    return None if same else f"{name or digest}"


def _fields(text: str) -> dict[str, str]:
    """The fields of an infotext's last line that matter here."""
    found: dict[str, Any] = {}
    names = r"(?:^|,)\s*(NAG [\w ]+|Model hash|Model|Refiner)"
    for match in re.finditer(names + r": (\"(?:\\.|[^\"\\])*\"|[^,\n]*)", text.rpartition("\n")[2]):
        value = match[2].strip()
        found[match[1]] = value[1:-1] if value.startswith('"') else value
    return found
