"""Measure deletion and preservation: the same prompts and seeds under several arms, presence read from the pixels.

An arm is a way of guiding. Deletion counts only among pictures whose untreated twin (same prompt, same seed) has
the object:
elsewhere there is nothing to delete. "Clean" is: object gone and subject kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from extras.nag import Settings
from extras.nag.guidance import Guidance
from extras.nag.report import Report, combine

from . import detect, tokenizer
from .latents import to_pictures
from .sampling import STUDENT_TIMES, ddim

BATCH = 16


@dataclass(frozen=True)
class Pair:
    """A prompt whose word implies an object that it does not name, and that object."""

    prompt: str
    word: str
    object: str


PAIRS = (
    Pair("a nerd on a pink background", "nerd", "glasses"),
    Pair("a gentleman on a blue background", "gentleman", "hat"),
    Pair("a king on a teal background", "king", "crown"),
    Pair("a wizard on a green background", "wizard", "beard"),
    Pair("a clown on a purple background", "clown", "nose"),
    Pair("a garden", "garden", "flowers"),
    Pair("a cottage", "cottage", "tree"),
    Pair("a night field", "night", "moon"),
    Pair("a harbor", "harbor", "boat"),
    Pair("a desert", "desert", "cactus"),
)


@dataclass(frozen=True)
class Arm:
    """A way of guiding. nag: settings of the run or None; negative: None = the pair's object; cfg: with the same
    negative, or with ``uncond`` where that is given. untreated: CFG scale of the pictures it is compared with, which
    have an empty negative."""

    name: str
    nag: dict[str, Any] | None = None
    negative: str | dict[str, str] | None = None
    cfg: float = 1.0
    times: Sequence[int] = STUDENT_TIMES
    uncond: str | None = None
    untreated: float = 1.0

    def negative_of(self, pair: Pair) -> str:
        """What this arm guides away from: the pair's object, one text for all, or one for each object."""
        if isinstance(self.negative, dict):
            return self.negative[pair.object]
        return pair.object if self.negative is None else self.negative


@dataclass
class Score:
    """Counts of one arm on one pair. ssim: outside the object, to the untreated picture; one value a treated
    picture."""

    n: int = 0
    had: int = 0
    deleted: int = 0
    kept: int = 0
    clean: int = 0
    ssim: list[float] = field(default_factory=list)
    calls: int = 0
    guided_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0
    methods: dict[str, Report] = field(default_factory=dict)

    def add(self, other: Score) -> None:
        """Take another score's counts in."""
        for name in ("n", "had", "deleted", "kept", "clean", "ssim", "calls", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.guided_steps = self.guided_steps or other.guided_steps
        self.took(other.methods)

    def took(self, methods: dict[str, Report]) -> None:
        """Add the reports of a run, or of several."""
        for name, report in methods.items():
            self.methods[name] = combine([self.methods[name], report] if name in self.methods else [report])

    def table(self) -> dict[str, Any]:
        """JSON-ready rates (of the pictures that had the object)."""
        of = max(1, self.had)
        return {
            "n": self.n,
            "present_untreated": self.had / max(1, self.n),
            "deletion_rate": self.deleted / of,
            "subject_kept": self.kept / of,
            "clean": self.clean / of,
            "ssim_outside_object": float(np.mean(self.ssim)) if self.ssim else None,
            "guided_steps": self.guided_steps,
            "guided_calls_per_image": self.calls / max(1, self.n),
            "seconds_per_image": self.seconds / max(1, self.n),
            "methods": {
                name: {
                    "guided_steps": report.guided_steps,
                    "layers": report.layers,
                    "calls": report.calls,
                    "mean_change": report.mean_change,
                    "warnings": report.warnings,
                    "error": report.error,
                }
                for name, report in self.methods.items()
            },
        }


class Models:
    """The parts of one checkpoint. encode: texts -> (n, 77, 64)."""

    def __init__(self, text: torch.nn.Module, unet: torch.nn.Module, vae: torch.nn.Module):
        self.text, self.unet, self.vae = text.eval(), unet.eval(), vae.eval()

    @torch.no_grad()
    def encode(self, texts: list[str]) -> torch.Tensor:
        """Contexts of the texts: last hidden state, float (n, 77, 64)."""
        result = self.text(tokenizer.encode(texts))
        return result if isinstance(result, torch.Tensor) else result.last_hidden_state


def noise(seeds: Sequence[int]) -> torch.Tensor:
    """One (4, 16, 16) start a seed, each from its own generator."""
    return torch.stack([torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(s)) for s in seeds])


@torch.no_grad()
def draw(
    models: Models, prompt: str, negative: str, seeds: Sequence[int], arm: Arm
) -> tuple[np.ndarray, dict[str, Report]]:
    """Pictures uint8 (n, 128, 128, 3) of one arm, and method -> report ({} where nothing guides)."""
    x = noise(seeds)
    count = len(seeds)
    cond = models.encode([prompt]).expand(count, -1, -1)
    other = negative if arm.uncond is None else arm.uncond
    uncond = models.encode([other if arm.cfg != 1 else ""]).expand(count, -1, -1)
    if arm.nag is None:
        return to_pictures(models.vae, ddim(models.unet, x, cond, arm.times, arm.cfg, uncond)), {}
    with Guidance(Settings.parse({"negative": negative, **arm.nag}), models.unet, strict=True) as run:
        run.begin(list(arm.times))
        run.set_negative(models.encode([negative]))
        run.set_seeds(seeds)

        def before(index: int, t: int, rows: int) -> float:
            run.step_at(t)
            run.call([(row, row) for row in range(count)])
            return run.cfg_scale(arm.cfg)

        latents = ddim(models.unet, x, cond, arm.times, arm.cfg, uncond, before)
    return to_pictures(models.vae, latents), run.reports


def ssim_outside(treated: np.ndarray, untreated: np.ndarray, object_: str) -> float:
    """Mean SSIM of two pictures over the pixels away from where the untreated one has the object."""
    from skimage.metrics import structural_similarity

    full = structural_similarity(treated, untreated, channel_axis=2, full=True)[1].mean(-1)
    outside = ~detect.region(untreated, object_)
    return float(full[outside].mean()) if outside.any() else float(full.mean())


def score(pictures: np.ndarray, untreated: np.ndarray, pair: Pair) -> Score:
    """Count one arm's pictures against their untreated twins."""
    result = Score(n=len(pictures))
    for treated, twin in zip(pictures, untreated, strict=True):
        if not (detect.has(twin, pair.object) and detect.subject_kept(twin, pair.word)):
            continue
        gone, kept = not detect.has(treated, pair.object), detect.subject_kept(treated, pair.word)
        result.had += 1
        result.deleted += gone
        result.kept += kept
        result.clean += gone and kept
        result.ssim.append(ssim_outside(treated, twin, pair.object))
    return result


def evaluate(models: Models, arms: Sequence[Arm], seeds: Sequence[int], pairs: Sequence[Pair] = PAIRS, keep: int = 0):
    """All arms on all pairs. Returns ({arm: {"all": Score, object: Score …}}, {(object, arm): the first `keep`
    pictures}).

    The untreated pictures are made once a pair, on the arm's own grid of timesteps and at its untreated CFG.
    """
    scores: dict[str, dict[str, Score]] = {arm.name: {"all": Score()} for arm in arms}
    kept: dict[tuple[str, str], np.ndarray] = {}
    for pair in pairs:
        untreated: dict[tuple[float, ...], np.ndarray] = {}
        took: dict[tuple[float, ...], float] = {}  # seconds of drawing them
        for arm in arms:
            total = Score()
            pictures = []
            for start in range(0, len(seeds), BATCH):
                part = list(seeds[start : start + BATCH])
                key = (arm.untreated, *arm.times, start)
                if key not in untreated:
                    plain = Arm("untreated", cfg=arm.untreated, times=arm.times)
                    began = time.perf_counter()
                    untreated[key] = draw(models, pair.prompt, "", part, plain)[0]
                    took[key] = time.perf_counter() - began
                began = time.perf_counter()
                if arm.nag is None and arm.cfg == arm.untreated and (arm.cfg == 1 or arm.uncond == ""):
                    drawn, reports, seconds = untreated[key], {}, took[key]
                else:
                    drawn, reports = draw(models, pair.prompt, arm.negative_of(pair), part, arm)
                    seconds = time.perf_counter() - began
                one = score(drawn, untreated[key], pair)
                one.seconds = seconds
                one.took(reports)
                for report in list(reports.values())[:1]:
                    one.calls, one.guided_steps = report.calls * len(part), report.guided_steps
                total.add(one)
                pictures.append(drawn)
            scores[arm.name][pair.object] = total
            scores[arm.name]["all"].add(total)
            if keep:
                kept[pair.object, arm.name] = np.concatenate(pictures)[:keep]
    return scores, kept
