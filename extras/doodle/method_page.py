"""The tables of docs/METHODS.md, with intervals: `nagtime.py demo --methods all --docs docs`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extras.nag import Settings

from .evaluate import Arm

PLACE = re.compile(r"(<!-- measured: [^\n]*-->\n).*?(<!-- /measured -->)", re.DOTALL)
RATES = {
    "deleted": (0, 1),
    "subject kept": (0, 1),
    "clean": (0, 1),
    "SSIM, whole": (-1, 1),
    "SSIM, background": (-1, 1),
}
EFFECTS = {
    "change": (0, 1),
    "edges": (0, None),
    "subject there": (0, 1),
    "object there": (0, 1),
    "SSIM, whole": (-1, 1),
}


def has_negative(arm: Arm) -> bool:
    """Does anything in this arm work with a negative prompt?"""
    if arm.cfg != 1 and arm.uncond is None:
        return True
    settings = Settings(nag=False) if arm.nag is None else Settings.parse(arm.nag)
    return settings.nag or settings.three_way_scale > 1


def values(record: dict[str, Any]) -> dict[str, float]:
    """The columns of one picture; NaN where there was nothing to delete."""
    only = 1.0 if record["had"] else np.nan
    gone, kept = not record["object"], record["subject"]
    return {
        "deleted": gone * only,
        "subject kept": kept * only,
        "clean": (gone and kept) * only,
        "SSIM, whole": record["ssim"],
        "SSIM, background": record["background"] * only,
        "change": record["change"],
        "edges": record["edges"],
        "subject there": float(kept),
        "object there": float(record["object"]),
    }


def column(records: Sequence[dict[str, Any]], name: str, bounds: tuple[float, float | None]) -> str:
    """Mean and 95 % interval of one column, prompts being the clusters."""
    from extras.lab.stats.clusters import Sums
    from extras.lab.stats.intervals import estimate

    found = [values(record)[name] for record in records]
    if not np.isfinite(found).any():
        return "–"
    high = np.inf if bounds[1] is None else bounds[1]
    result = estimate(Sums.of(found, [record["pair"] for record in records]), bounds=(bounds[0], high))
    return f"{result.value:.3f}" + (f" [{result.low:.2f}, {result.high:.2f}]" if result.known else "")


def table(arms: Sequence[Arm], records: dict[str, list[dict[str, Any]]], columns: dict[str, Any]) -> str:
    """Markdown, a row per arm."""
    lines = ["| arm | pictures | had it | " + " | ".join(columns) + " |", "|---" * (3 + len(columns)) + "|"]
    for arm in arms:
        rows = records[arm.name]
        cells = [column(rows, name, bounds) for name, bounds in columns.items()]
        had = sum(record["had"] for record in rows)
        lines.append(f"| {arm.name} | {len(rows)} | {had} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def settings_of(arms: Sequence[Arm]) -> str:
    """What each arm sets, one line each."""
    lines = []
    for arm in arms:
        parts = [f"`{json.dumps(arm.nag)}`"] if arm.nag else []
        parts += [f"CFG {arm.cfg:g}, {'negative: the object' if arm.uncond is None else 'empty negative'}"] * (
            arm.cfg != 1
        )
        lines.append(f"- {arm.name}: " + ("; ".join(parts) or "nothing"))
    return "\n".join(lines)


def section(name: str, arms: Sequence[Arm], records: dict[str, list[dict[str, Any]]]) -> str:
    """One model's two tables."""
    first, others = arms[0], arms[1:]
    negative = [arm for arm in others if has_negative(arm)]
    without = [arm for arm in others if not has_negative(arm)]
    twin = "unguided" if first.cfg == 1 else f"at CFG {first.cfg:g}"
    each = len(records[first.name])
    steps = f"{len(first.times)} steps, {each} pictures an arm, each beside the same seed {twin}"
    text = [f"### {name}: {steps}", "", table(negative, records, RATES), ""]
    if without:
        text += [
            "These have no negative prompt and delete nothing by design; what they change:",
            "",
            table([first, *without], records, EFFECTS),
            "",
        ]
    return "\n".join([*text, "Settings:", "", settings_of(arms), ""])


def write(
    folder: Path,
    models: Sequence[tuple[str, Sequence[Arm], dict[str, list[dict[str, Any]]]]],
    command: str,
) -> Path:
    """Put the tables into METHODS.md between its marks. ``models``: (name, arms, arm -> records).
    ValueError where the page has lost its marks."""
    path = folder / "METHODS.md"
    text = path.read_text("utf-8")
    body = "\n".join(section(*model) for model in models)
    body = f"`{command}`\n\n![Every method, one seed a prompt](methods.png)\n\n" + body
    if not PLACE.search(text):
        raise ValueError(f"{path} has lost its marks around the tables")
    path.write_text(PLACE.sub(lambda m: m[1] + body + m[2], text), encoding="utf-8")
    return path
