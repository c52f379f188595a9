"""CLIP similarity to the prompt and to the negative, CLIPScore, and the log ratio that the published study used.

Never presence: a similarity moves for many reasons. Here for comparison with published numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from .checkpoints import device, opened, remembered
from .metric import Absent, Spec

NONE = Absent("no CLIP checkpoint was named")


def positive(picture: Image.Image, _twin: Image.Image | None, spec: Spec) -> float | Absent:
    """Cosine of picture and prompt, -1…1."""
    return _similarity(picture, spec["prompt"], spec)


def negative(picture: Image.Image, _twin: Image.Image | None, spec: Spec) -> float | Absent:
    """Cosine of picture and negative, -1…1."""
    return _similarity(picture, _negative(spec), spec)


def score(picture: Image.Image, _twin: Image.Image | None, spec: Spec) -> float | Absent:
    """CLIPScore: 100 · max(0, cosine with the prompt) (Hessel et al. 2021, without their factor 2.5)."""
    found = _similarity(picture, spec["prompt"], spec)
    return found if isinstance(found, Absent) else 100 * max(0.0, found)


def lsr(picture: Image.Image, twin: Image.Image | None, spec: Spec) -> float | Absent:
    """ln(negative / prompt similarity), treated less untreated; lower: further from the negative."""
    ratios = []
    for one in (picture, twin):
        of, to = _similarity(one, _negative(spec), spec), _similarity(one, spec["prompt"], spec)
        if isinstance(of, Absent) or isinstance(to, Absent):
            return of if isinstance(of, Absent) else to
        if of <= 0 or to <= 0:
            return Absent("a similarity is not positive: its logarithm does not exist")
        ratios.append(math.log(of / to))
    return ratios[0] - ratios[1]


def _negative(spec: Spec) -> str:
    return spec.get("negative") or spec["target"]


def _similarity(picture: Image.Image, text: str, spec: Spec) -> float | Absent:
    folder = spec.get("clip")
    if not folder:
        return NONE
    loaded = _clip(str(folder))
    if isinstance(loaded, Absent):
        return loaded
    rgb = picture.convert("RGB")
    picture_at = _picture_features(str(folder), rgb.tobytes(), rgb.size)
    return float((picture_at * _text_features(str(folder), text)).sum())


@remembered
def _clip(folder: str) -> tuple[Any, Any] | Absent:
    def load(path: Path) -> tuple[Any, Any]:
        from transformers import AutoProcessor, CLIPModel

        model = CLIPModel.from_pretrained(str(path), use_safetensors=True, local_files_only=True).eval()
        return model.to(device()), AutoProcessor.from_pretrained(str(path), local_files_only=True)

    return opened(folder, load)


@lru_cache(maxsize=4096)
def _picture_features(folder: str, pixels: bytes, size: tuple[int, int]) -> Any:
    model, processor = _clip(folder)
    return _unit(model.get_image_features, processor(images=Image.frombytes("RGB", size, pixels), return_tensors="pt"))


@lru_cache(maxsize=4096)
def _text_features(folder: str, text: str) -> Any:
    model, processor = _clip(folder)
    most = model.config.text_config.max_position_embeddings
    given = processor(text=[text], return_tensors="pt", padding=True, truncation=True, max_length=most)
    return _unit(model.get_text_features, given)


def _unit(encode: Any, given: Any) -> Any:
    import torch

    with torch.no_grad():
        found = encode(**given.to(device()))
    found = getattr(found, "pooler_output", found)[0]  # transformers 5 answers with a record
    return (found / found.norm()).float().cpu()
