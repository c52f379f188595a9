"""parameters.png: what scale, tau, alpha and the window do on the small student; parameters.json: how often the object
went and the subject stayed, ten prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from extras.doodle.compare import FIRST_SEED
from extras.doodle.evaluate import STUDENT, Arm, evaluate, load_models
from extras.doodle.pairs import PAIRS, Pair
from extras.nag.settings import load_preset

PRESET = "Doodle student"
SEEDS = 4
SHOWN = ("glasses", "tree")
"""Objects of the two prompts whose pictures are shown."""

TOLD = ("n", "present_untreated", "deletion_rate", "subject_kept", "ssim_outside_object", "guided_steps")

SIZE, LEFT, GAP, HEAD, FOOT, TOP = 128, 128, 6, 24, 40, 8
DARK, GREY, RED, FRAME = (15, 23, 42), (100, 116, 139), (180, 30, 40), (37, 99, 235)


class Row(NamedTuple):
    """A parameter: its name, what to say of it, and (label, settings) of each column."""

    name: str
    about: str
    columns: Sequence[tuple[str, dict[str, float]]]


def _values(field: str, *values: float) -> list[tuple[str, dict[str, float]]]:
    return [(f"{value:g}", {field: value}) for value in values]


ROWS = (
    Row("scale", "how far from\nthe negative", _values("scale", 2, 4, 6, 8, 12, 20)),
    Row("tau", "how much a\nfeature may grow", _values("tau", 1, 1.5, 2, 2.5, 4, 10)),
    Row("alpha", "share of the\nguided features", _values("alpha", 0.1, 0.25, 0.5, 0.65, 0.8, 1)),
    Row(
        "window",
        "which of the\nfour steps",
        [
            ("step 1", {"start": 0.0, "end": 0.2}),
            ("steps 1-2", {"start": 0.0, "end": 0.4}),
            ("steps 2-3", {"start": 0.17, "end": 0.6}),
            ("all", {"start": 0.0, "end": 1.0}),
            ("steps 2-4", {"start": 0.17, "end": 1.0}),
            ("step 4", {"start": 0.7, "end": 1.0}),
        ],
    ),
)


def arms(rows: Sequence[Row] = ROWS) -> dict[tuple[str, str], Arm]:
    """(row, label) -> arm. Arms that are the preset itself are one, under its name."""
    preset: dict[str, Any] = dict(load_preset(PRESET).settings)
    made = {}
    for row in rows:
        for label, changed in row.columns:
            own = {**preset, **changed}
            name = PRESET if own == preset else f"{row.name} {label}"
            made[row.name, label] = Arm(name, nag=own)
    return made


def draw(out: Path) -> list[Path]:
    models = load_models(STUDENT, quick=True)
    seeds = list(range(FIRST_SEED, FIRST_SEED + SEEDS))
    return write(out, *evaluate(models, different(), seeds, PAIRS, keep=1))


def different() -> list[Arm]:
    """Every arm once, and none."""
    return [Arm("off"), *{arm.name: arm for arm in arms().values()}.values()]


def write(out: Path, scores: Any, kept: dict[tuple[str, str], np.ndarray]) -> list[Path]:
    """The sheet and the numbers. ``scores``, ``kept``: of evaluate()."""
    numbers = {}
    for arm in different():
        table = scores[arm.name]["all"].table()
        numbers[arm.name] = {"settings": arm.nag, **{name: table[name] for name in TOLD}}
    picture, figures = out / "parameters.png", out / "parameters.json"
    names = {place: arm.name for place, arm in arms().items()}
    drawn = sheet(names, kept, numbers, [pair for pair in PAIRS if pair.object in SHOWN])
    drawn.quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
    told = {"made_by": "python nagtime.py pictures parameters", "preset": PRESET, "prompts": len(PAIRS), "seeds": SEEDS}
    figures.write_text(json.dumps({**told, "arms": numbers}, indent=1) + "\n", encoding="utf-8")
    return [picture, figures]


def sheet(
    names: dict[tuple[str, str], str],
    kept: dict[tuple[str, str], np.ndarray],
    numbers: dict[str, dict[str, Any]],
    pairs: Sequence[Pair],
    rows: Sequence[Row] = ROWS,
) -> Image.Image:
    """The labelled pictures. ``names``: (row, label) -> arm; ``kept``: (object, arm) -> pictures, the first is shown;
    ``numbers``: arm -> deletion_rate, subject_kept."""
    across = 1 + max(len(row.columns) for row in rows)
    high = HEAD + len(pairs) * (SIZE + GAP) + FOOT
    image = Image.new("RGB", (LEFT + across * (SIZE + GAP), TOP + len(rows) * high), "white")
    pen, font, bold = ImageDraw.Draw(image), ImageFont.load_default(14), ImageFont.load_default(18)
    for down, row in enumerate(rows):
        top = TOP + down * high
        pen.text((6, top + HEAD), row.name, fill=DARK, font=bold)
        pen.text((6, top + HEAD + 26), row.about, fill=GREY, font=font)
        columns = [("off", "off"), *((label, names[row.name, label]) for label, _ in row.columns)]
        for column, (label, name) in enumerate(columns):
            left = LEFT + column * (SIZE + GAP)
            pen.text((left + 2, top + 4), label, fill=DARK if column else GREY, font=font)
            for index, pair in enumerate(pairs):
                place = (left, top + HEAD + index * (SIZE + GAP))
                image.paste(Image.fromarray(kept[pair.object, name][0]), place)
                if not column:
                    pen.text((6, place[1] + SIZE - 22), f"without {pair.object}", fill=RED, font=font)
            if name == PRESET:
                box = (left - 3, top + HEAD - 3, left + SIZE + 2, top + HEAD + len(pairs) * (SIZE + GAP) - GAP + 2)
                pen.rectangle(box, outline=FRAME, width=3)
            if column:
                of = numbers[name]
                foot = top + HEAD + len(pairs) * (SIZE + GAP) - 2
                told = f"gone {of['deletion_rate']:.0%}, kept {of['subject_kept']:.0%}"
                pen.text((left + 2, foot), told, fill=DARK, font=ImageFont.load_default(12))
    return image
