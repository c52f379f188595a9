"""Labelled sheets of pictures: a row a prompt, or a row an arm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .evaluate import Arm
from .pairs import Pair
from .scenes import SIZE

LABEL, TOP = 290, 40
LEFT, HEAD, GAP, TITLE = 230, 40, 4, 24


def grid(
    pictures: dict[tuple[str, str], np.ndarray], pairs: Sequence[Pair], names: Sequence[str], seeds: int = 3
) -> Image.Image:
    """A labelled grid: a row a pair, `seeds` pictures an arm."""
    width = LABEL + len(names) * (seeds * SIZE + 14)
    sheet = Image.new("RGB", (width, TOP + len(pairs) * (SIZE + 6)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(24)
    for column, name in enumerate(names):
        left = LABEL + column * (seeds * SIZE + 14)
        pen.text((left + 4, 6), name, fill="black", font=font)
        for row, pair in enumerate(pairs):
            top = TOP + row * (SIZE + 6)
            if column == 0:
                pen.text((8, top + 20), f"“{pair.prompt}”".replace(" on a ", "\non a "), fill="black", font=font)
                pen.text((8, top + 84), f"without {pair.object}", fill=(180, 30, 40), font=font)
            for index, picture in enumerate(pictures[pair.object, name][:seeds]):
                sheet.paste(Image.fromarray(picture), (left + index * SIZE, top))
    return sheet


def sheet(
    models: Sequence[tuple[str, Sequence[Arm], dict[tuple[str, str], np.ndarray]]], pairs: Sequence[Pair]
) -> Image.Image:
    """A row an arm, a column a prompt, the same seed down each column. ``models``: (name, arms, (object, arm) ->
    pictures of which the first is shown)."""
    rows = sum(len(arms) for _, arms, _ in models)
    wide, high = SIZE + GAP, SIZE + GAP
    picture = Image.new("RGB", (LEFT + len(pairs) * wide, HEAD + rows * high + TITLE * len(models)), "white")
    pen, font, bold = ImageDraw.Draw(picture), ImageFont.load_default(15), ImageFont.load_default(17)
    for index, pair in enumerate(pairs):
        pen.text((LEFT + index * wide + 2, 3), pair.word, fill="black", font=font)
        pen.text((LEFT + index * wide + 2, 20), f"without {pair.object}", fill=(180, 30, 40), font=font)
    top = HEAD
    for name, arms, drawn in models:
        pen.text((6, top + 2), name, fill=(30, 60, 140), font=bold)
        top += TITLE
        for arm in arms:
            pen.text((8, top + SIZE // 2 - 8), arm.name.replace(" with the", "\nwith the"), fill="black", font=font)
            for index, pair in enumerate(pairs):
                picture.paste(Image.fromarray(drawn[pair.object, arm.name][0]), (LEFT + index * wide, top))
            top += high
    return picture
