"""What guidance does on the Flux doodle, read from the pixels: deletion and preservation, intervals, controls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import detect
from .evaluate import noise
from .pairs import PAIRS, Pair
from .scenes import SIZE
from .scores import Score, score

BATCH = 16
STEPS = 4
"""What the checkpoint was made straight for; a multiple of it is finer."""
NAG = {"scale": 8.0, "tau": 2.5, "alpha": 0.75}
NAG_TIME = {"scale": 11.0, "tau": 2.5, "alpha": 0.75, "end": 0.6}
NAG_PAG = {"nag": False, "nag_pag_scale": 3.0}
PUBLISHED = {"scale": 5.0, "tau": 2.5, "alpha": 0.25}
"""For Flux, by the authors of NAG; see extras/nag/presets."""


@dataclass(frozen=True)
class FluxArm:
    """A way of guiding. ``settings``: of guide(). ``negative``: None is the pair's object."""

    name: str
    settings: Mapping[str, Any]
    negative: str | None = None


ARMS = (
    FluxArm("NAG", NAG),
    FluxArm("NAG Time", NAG_TIME),
    FluxArm("NAG-PAG", NAG_PAG),
    FluxArm("NAG as published", PUBLISHED),
    FluxArm("control: empty negative", NAG, negative=""),
    FluxArm("control: unknown word", NAG, negative="zyzzyva"),
)


@dataclass
class Measured:
    """Of one model and number of steps. ``plain``: {object: (pictures with the object, with the subject, pictures)};
    ``scores``: {arm: {object: Score}}; ``changes``: {arm: mean relative change of the guided features}; ``kept``:
    {(object, arm or ""): the first pictures}."""

    steps: int
    plain: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    changes: dict[str, list[float]] = field(default_factory=dict)
    kept: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0

    def all(self, arm: str) -> Score:
        """The arm's counts over all pairs."""
        total = Score()
        for one in self.scores[arm].values():
            total.add(one)
        return total


def draw(pipe: Any, prompt: str, seeds: Sequence[int], steps: int = STEPS, **options: Any) -> np.ndarray:
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


def measure(
    pipe: Any,
    seeds: Sequence[int],
    steps: int = STEPS,
    arms: Sequence[FluxArm] = ARMS,
    pairs: Sequence[Pair] = PAIRS,
    keep: int = 0,
    say: Callable[[str], object] = lambda text: None,
) -> Measured:
    """Untreated pictures of every pair, and the same seeds under every arm."""
    result, began = Measured(steps), time.perf_counter()
    for pair in pairs:
        plain = draw(pipe, pair.prompt, seeds, steps)
        had = sum(detect.has(picture, pair.object) for picture in plain)
        subjects = sum(detect.subject_kept(picture, pair.word) for picture in plain)
        result.plain[pair.object] = (int(had), int(subjects), len(plain))
        result.kept[pair.object, ""] = plain[:keep]
        for arm in arms:
            pictures, report = guided(pipe, pair, seeds, steps, arm)
            one = score(pictures, plain, pair)
            one.methods, one.calls = {}, report.calls
            result.scores.setdefault(arm.name, {})[pair.object] = one
            result.changes.setdefault(arm.name, []).append(report.mean_change)
            result.kept[pair.object, arm.name] = pictures[:keep]
        deleted = ", ".join(f"{arm.name} {result.scores[arm.name][pair.object].deleted}" for arm in arms)
        say(f"{pair.object}: in {had} of {len(plain)}; deleted: {deleted} ({time.perf_counter() - began:.0f} s)")
    result.seconds = time.perf_counter() - began
    return result


def guided(pipe: Any, pair: Pair, seeds: Sequence[int], steps: int, arm: FluxArm) -> tuple[np.ndarray, Any]:
    """(pictures, report of the last batch) of one pair under an arm."""
    from extras.nag import guide

    negative = pair.object if arm.negative is None else arm.negative
    with guide(pipe, negative=negative, **arm.settings) as run:
        pictures = draw(pipe, pair.prompt, seeds, steps)
    return pictures, run.report


def wilson(count: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927). (0, 1) of nothing."""
    if of == 0:
        return 0.0, 1.0
    share, spread = count / of, z * z / of
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
