"""Preservation by structure: SSIM of the whole picture and of its background, MS-SSIM."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from PIL import Image

from . import presence
from .metric import Absent, Spec

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003
KERNEL = 11
WINDOW = 7


def ssim(picture: Image.Image, twin: Image.Image, _spec: Spec) -> float | Absent:
    """Structural similarity to the untreated picture, -1…1."""
    found = _map(picture, twin)
    return found if isinstance(found, Absent) else float(found[1])


def ssim_background(picture: Image.Image, twin: Image.Image, spec: Spec) -> float | Absent:
    """The same outside the target as the untreated picture has it: a correct deletion costs nothing."""
    where, found = presence.region(twin, spec), _map(picture, twin)
    if isinstance(where, Absent) or isinstance(found, Absent):
        return where if isinstance(where, Absent) else found
    if where.all():
        return Absent("the target fills the untreated picture: there is no background")
    return float(found[0][~where].mean())


def ms_ssim(picture: Image.Image, twin: Image.Image, _spec: Spec) -> float | Absent:
    """SSIM over several scales, 0…1: the published five where the picture is large enough, else as many as fit."""
    side = min(picture.size)
    fitting = [count for count in range(2, 6) if side // max(1, (count - 1)) ** 2 > KERNEL - 1 and side >= 2**count]
    if not fitting:
        return Absent(f"{side} pixels are too few for more than one scale")
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as measure

    betas = np.array(BETAS[: fitting[-1]])
    pair = [torch.from_numpy(_pixels(one)).permute(2, 0, 1)[None].float() / 255 for one in (picture, twin)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(measure(*pair, data_range=1.0, kernel_size=KERNEL, betas=tuple(betas / betas.sum())))


def _map(picture: Image.Image, twin: Image.Image) -> tuple[np.ndarray, float] | Absent:
    """SSIM by pixel (H, W), and its mean as published (without the border)."""
    if min(picture.size) < WINDOW:
        return Absent(f"{min(picture.size)} pixels are fewer than SSIM's window of {WINDOW}")
    return _compared(picture.convert("RGB").tobytes(), twin.convert("RGB").tobytes(), picture.size)


@lru_cache(maxsize=2)
def _compared(first: bytes, second: bytes, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Whole picture and background ask the same, one after the other."""
    from skimage.metrics import structural_similarity

    pixels = [np.frombuffer(each, np.uint8).reshape(size[1], size[0], 3) for each in (first, second)]
    mean, full = structural_similarity(*pixels, channel_axis=2, full=True)
    return full.mean(-1), float(mean)


def _pixels(picture: Image.Image) -> np.ndarray:
    return np.array(picture.convert("RGB"))
