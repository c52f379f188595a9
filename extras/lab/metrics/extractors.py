"""Features of a picture, for measures of sets. Which extractor was used stands beside every number it led to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .checkpoints import device, opened, remembered
from .metric import Absent

GRID, SIDE = "grid", 8
Extractor = Callable[[Iterable[Image.Image]], np.ndarray]
"""Pictures -> float32 (n, d)."""


def extractor(name: str) -> Extractor | Absent:
    """`grid`: mean colours of an 8×8 grid, 192 numbers in 0…1, no weights; else the folder of a vision checkpoint."""
    return grid if name == GRID else _vision(name)


def describe(name: str) -> str:
    """The extractor in words."""
    if name == GRID:
        return f"mean colours of a {SIDE}×{SIDE} grid (no learned features: not comparable with published FID or KID)"
    return f"features of {Path(name).name} (comparable only with values from the same checkpoint)"


def grid(pictures: Iterable[Image.Image]) -> np.ndarray:
    """Mean colours, row by row."""
    small = [one.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX) for one in pictures]
    return np.stack([np.asarray(one, dtype=np.float32).reshape(-1) / 255 for one in small])


@remembered
def _vision(folder: str) -> Extractor | Absent:
    return opened(folder, _load)


def _load(path: Path) -> Extractor:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    model: Any = AutoModel.from_pretrained(str(path), use_safetensors=True, local_files_only=True).eval().to(device())
    processor = AutoImageProcessor.from_pretrained(str(path), local_files_only=True)

    @torch.no_grad()
    def extract(pictures: Iterable[Image.Image]) -> np.ndarray:
        found = []
        for one in pictures:
            given = processor(images=one.convert("RGB"), return_tensors="pt").to(device())
            answer = model.get_image_features(**given) if hasattr(model, "get_image_features") else model(**given)
            pooled = getattr(answer, "pooler_output", answer)
            pooled = answer.last_hidden_state.mean(1) if pooled is None else pooled
            found.append(pooled.float().cpu().numpy().reshape(-1))
        return np.stack(found)

    return extract
