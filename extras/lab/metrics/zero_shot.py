"""Presence by a zero-shot checkpoint: a detector (OWL-ViT, Grounding DINO …) or an image-text model (CLIP, SigLIP …).

A detector also says where. An image-text model is asked "a picture with X" against "a picture without X": a much
weaker judge, and it has no places, so background-only measures are absent with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .checkpoints import config, device, opened, remembered
from .metric import Absent

LEAST = 0.1  # score from which a detector's box counts
DETECTION, CLASSIFICATION = "zero-shot-object-detection", "zero-shot-image-classification"


@dataclass(frozen=True)
class Found:
    """present; boxes: (left, top, right, bottom) in pixels, None where the checkpoint has no places."""

    present: bool
    boxes: tuple[tuple[float, float, float, float], ...] | None

    def mask(self, size: tuple[int, int], margin: int) -> np.ndarray | Absent:
        """The boxes grown by a margin: bool (H, W). size: (W, H)."""
        if self.boxes is None:
            return Absent("this checkpoint tells presence but not place: name a zero-shot detector")
        result = np.zeros((size[1], size[0]), dtype=bool)
        for left, top, right, bottom in self.boxes:
            columns = slice(max(0, int(left) - margin), int(np.ceil(right)) + margin)
            result[max(0, int(top) - margin) : int(np.ceil(bottom)) + margin, columns] = True
        return result


def find(folder: str | None, picture: Image.Image, what: str) -> Found | Absent:
    """Look for a thing, named in words, in a picture."""
    asked = _pipeline(str(folder))
    if isinstance(asked, Absent):
        return asked
    rgb = picture.convert("RGB")
    return _look(str(folder), rgb.tobytes(), rgb.size, what)


@lru_cache(maxsize=4096)
def _look(folder: str, pixels: bytes, size: tuple[int, int], what: str) -> Found:
    """Several metrics ask the same of one picture."""
    pipeline = _pipeline(folder)
    picture = Image.frombytes("RGB", size, pixels)
    if pipeline.task == DETECTION:
        found = [each["box"] for each in pipeline(picture, candidate_labels=[what], threshold=LEAST)]
        boxes = tuple((box["xmin"], box["ymin"], box["xmax"], box["ymax"]) for box in found)
        return Found(bool(boxes), boxes)
    captions = [f"a picture with {what}", f"a picture without {what}"]
    best = pipeline(picture, candidate_labels=captions, hypothesis_template="{}")[0]
    return Found(best["label"] == captions[0], None)


@remembered
def _pipeline(folder: str) -> Any | Absent:
    return opened(folder, _load)


def _load(path: Path) -> Any:
    import transformers
    from transformers.models.auto import modeling_auto as auto

    kind = config(path).get("model_type", "")
    if kind in auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES:
        task = DETECTION
    elif kind in auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        task = CLASSIFICATION
    else:
        raise ValueError(f"{kind!r} is neither a zero-shot detector nor an image-text model")
    return transformers.pipeline(task, model=str(path), device=device(), model_kwargs={"use_safetensors": True})
