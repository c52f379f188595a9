"""Is what the words imply in the Flux doodle's pictures? Read from the pixels, for a number of steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from . import detect
from .evaluate import PAIRS, Pair, noise, score
from .scenes import SIZE

BATCH = 16


def draw(pipe: Any, prompt: str, seeds: Sequence[int], steps: int = 4, **options: Any) -> np.ndarray:
    """Pictures uint8 (n, 128, 128, 3) of one prompt, each from its own seed. options: further ones of the pipeline."""
    pictures = []
    for start in range(0, len(seeds), BATCH):
        part = list(seeds[start : start + BATCH])
        latents = pipe._pack_latents(noise(part), len(part), 4, SIZE // 8, SIZE // 8)
        made = pipe(
            [prompt] * len(part), latents=latents, num_inference_steps=steps, height=SIZE, width=SIZE,
            output_type="np", **options,
        )  # fmt: skip
        pictures.append((made.images * 255).round().astype(np.uint8))
    return np.concatenate(pictures)


@dataclass
class Presence:
    """Shares of the pictures with the implied object, and with the subject; seconds a picture."""

    object: float
    subject: float
    seconds: float


def presence(pipe: Any, seeds: Sequence[int], steps: int, pairs: Sequence[Pair] = PAIRS) -> dict[str, Presence]:
    """{object: Presence} of the untreated pictures."""
    result = {}
    for pair in pairs:
        began = time.perf_counter()
        pictures = draw(pipe, pair.prompt, seeds, steps)
        seconds = (time.perf_counter() - began) / len(seeds)
        objects = [detect.has(picture, pair.object) for picture in pictures]
        subjects = [detect.subject_kept(picture, pair.word) for picture in pictures]
        result[pair.object] = Presence(float(np.mean(objects)), float(np.mean(subjects)), seconds)
    return result


def compare(pipe: Any, guide: Any, seeds: Sequence[int], steps: int = 4, pairs: Sequence[Pair] = PAIRS):
    """{object: Score} of pictures drawn under `guide` against their untreated twins.

    guide(pair): a context manager in which the pipeline's transformer is guided for that pair.
    """
    scores = {}
    for pair in pairs:
        untreated = draw(pipe, pair.prompt, seeds, steps)
        with guide(pair), torch.no_grad():
            treated = draw(pipe, pair.prompt, seeds, steps)
        scores[pair.object] = score(treated, untreated, pair)
    return scores
