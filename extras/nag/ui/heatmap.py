"""A map of where guidance acted, drawn over the grey picture, with a legend below. Needs numpy and PIL."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_COLOURS = np.array([(58, 28, 140), (190, 30, 120), (246, 118, 30), (255, 240, 90)], float)  # low to high
_FAINT, _STRONG = 0.25, 0.75  # share of the colour in a pixel, where the change is lowest and highest
_LEAST = 0.1  # a map flatter than this share of its top is not stretched to full contrast
_LEGEND = 26  # height at a picture 512 wide or less


def span_of(grids: Iterable[np.ndarray]) -> tuple[float, float]:
    """Lowest and highest colour of the legend, one for all pictures of a job so that they can be compared."""
    values = [(float(grid.min()), float(grid.max())) for grid in grids]
    top = max((high for _, high in values), default=0.0)
    low = min((low for low, _ in values), default=0.0)
    return max(0.0, min(low, top * (1 - _LEAST))), top


def heatmap(picture: Image.Image, grid: np.ndarray, span: tuple[float, float]) -> Image.Image:
    """RGB, as wide as the picture, higher by the legend. ``grid``: (h, w), change per token, 0 and up. ``span``: the
    changes of the lowest and highest colour."""
    low, high = span
    heat = Image.fromarray(grid.astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
    share = np.clip((np.asarray(heat) - low) / max(high - low, 1e-12), 0, 1)
    grey = np.asarray(picture.convert("L"), float)[..., None]
    weight = (_FAINT + (_STRONG - _FAINT) * share)[..., None]
    body = Image.fromarray((grey * (1 - weight) + _colour(share) * weight).round().astype(np.uint8))
    legend = _legend(picture.width, span)
    whole = Image.new("RGB", (picture.width, picture.height + legend.height))
    whole.paste(body, (0, 0))
    whole.paste(legend, (0, picture.height))
    return whole


def _colour(share: np.ndarray) -> np.ndarray:
    """0..1 of any shape -> RGB in a last dimension."""
    at = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(share, at, _COLOURS[:, channel]) for channel in range(3)], -1)


def _legend(width: int, span: tuple[float, float]) -> Image.Image:
    """A bar of the colours between the two numbers; where there is room, what they are."""
    enlarge = max(1, round(width / 512))
    wide = max(1, width // enlarge)
    strip = Image.new("RGB", (wide, _LEGEND), (20, 20, 20))
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default()
    colours = _colour(np.linspace(0, 1, max(1, wide - 8)))[None].repeat(8, 0).round().astype(np.uint8)
    strip.paste(Image.fromarray(colours), (4, 3))
    low, high = (f"{value:.0%}" for value in span)
    for text, place in ((low, 0.0), (high, 1.0), ("change of features by NAG", 0.5)):
        left, _, right, _ = draw.textbbox((0, 0), text, font=font)
        if place != 0.5 or right - left < wide - 90:
            draw.text((4 + place * (wide - 8 - (right - left)), 12), text, (235, 235, 235), font=font)
    return strip.resize((width, _LEGEND * enlarge), Image.Resampling.NEAREST)
