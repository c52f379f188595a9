"""Small things of `shared` that need no file of their own: the pixel upscalers and an HTML stub."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image


class _Scaler(NamedTuple):
    model_name: str | None = None


class UpscalerData(NamedTuple):
    """A pixel upscaler the hires pass may use. ``filter`` is a PIL resampling filter."""

    name: str
    filter: int
    scaler: _Scaler = _Scaler()
    data_path: str | None = None
    scale: float = 4


def upscalers() -> list[UpscalerData]:
    return [
        UpscalerData("None", Image.Resampling.LANCZOS, scale=1),
        UpscalerData("Lanczos", Image.Resampling.LANCZOS),
        UpscalerData("Nearest", Image.Resampling.NEAREST),
    ]


def html(filename: str) -> str:
    """The Studio ships no HTML templates."""
    return ""
