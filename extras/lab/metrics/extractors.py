"""Features of a picture, for measures of sets. Which extractor was used stands beside every number it led to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .checkpoints import device, opened, remembered
from .metric import Absent

GRID, SIDE = "grid", 8
Extractor = Callable[[Image.Image], np.ndarray]
"""Picture -> float32 (d,)."""


def features(pictures: Iterable[Image.Image], name: str) -> np.ndarray | Absent:
    """Float32 (n, d). name: `grid` (mean colours of an 8×8 grid, 192 numbers in 0…1, no weights) or the folder of a
    vision checkpoint."""
    extract: Extractor | Absent = grid if name == GRID else _vision(name)
    if isinstance(extract, Absent):
        return extract
    found = (_of(name, rgb.tobytes(), rgb.size) for rgb in (one.convert("RGB") for one in pictures))
    return np.stack(list(found))


@lru_cache(maxsize=16384)
def _of(name: str, pixels: bytes, size: tuple[int, int]) -> np.ndarray:
    """Every arm is compared with the same untreated set."""
    extract = grid if name == GRID else _vision(name)
    assert not isinstance(extract, Absent)
    return extract(Image.frombytes("RGB", size, pixels))


def describe(name: str) -> str:
    """The extractor in words."""
    if name == GRID:
        return f"mean colours of a {SIDE}×{SIDE} grid (no learned features: not comparable with published FID or KID)"
    return f"features of {Path(name).name} (comparable only with values from the same checkpoint)"


def grid(picture: Image.Image) -> np.ndarray:
    """Mean colours, row by row."""
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).reshape(-1) / 255


@remembered
def _vision(folder: str) -> Extractor | Absent:
    return opened(folder, _load)


def _load(path: Path) -> Extractor:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    model: Any = AutoModel.from_pretrained(str(path), use_safetensors=True, local_files_only=True).eval().to(device())
    processor = AutoImageProcessor.from_pretrained(str(path), local_files_only=True)

    @torch.no_grad()
    def extract(picture: Image.Image) -> np.ndarray:
        given = processor(images=picture.convert("RGB"), return_tensors="pt").to(device())
        answer = model.get_image_features(**given) if hasattr(model, "get_image_features") else model(**given)
        pooled = getattr(answer, "pooler_output", answer)
        pooled = answer.last_hidden_state.mean(1) if pooled is None else pooled
        return pooled.float().cpu().numpy().reshape(-1)

    return extract
