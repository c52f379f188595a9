"""Measure deletion and preservation: the same prompts and seeds under several arms, presence read from the pixels.

An arm is a way of guiding. Deletion counts only among pictures whose untreated twin (same prompt, same seed) has
the object: elsewhere there is nothing to delete. "Clean" is: object gone and subject kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from extras.nag import Settings
from extras.nag.guidance import Guidance
from extras.nag.report import Report

from . import MODELS, tokenizer
from .latents import to_pictures
from .pairs import PAIRS, Pair
from .sampling import STUDENT_TIMES, ddim
from .scores import Score, score

BATCH = 16
STUDENT, BASE = MODELS / "doodle-student.safetensors", MODELS / "doodle-base.safetensors"


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


class Models:
    """The parts of one checkpoint. encode: texts -> (n, 77, 64). quick: decode in bfloat16 (by at most 4 of 255 other
    pixels, three times as fast where the processor has matrix units for it)."""

    def __init__(self, text: torch.nn.Module, unet: torch.nn.Module, vae: torch.nn.Module, quick: bool = False):
        self.text, self.unet, self.vae, self.quick = text.eval(), unet.eval(), vae.eval(), quick
        if quick:
            self.vae.to(memory_format=torch.channels_last)

    def pictures(self, latents: torch.Tensor) -> np.ndarray:
        """uint8 (n, 8h, 8w, 3) of latents (n, 4, h, w)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.quick):
            return to_pictures(self.vae, latents)

    @torch.no_grad()
    def encode(self, texts: list[str]) -> torch.Tensor:
        """Contexts of the texts: last hidden state, float (n, 77, 64)."""
        result = self.text(tokenizer.encode(texts))
        return result if isinstance(result, torch.Tensor) else result.last_hidden_state


def load_models(path: Path, quick: bool = False) -> Models:
    """Open a doodle checkpoint as the Studio does (errors: `extras.studio` CheckpointError, naming the file)."""
    from extras.studio import checkpoints

    model, _, encoders = checkpoints.load(path, MODELS / "tokenizer")
    return Models(encoders[0], model.model.diffusion_model, model.first_stage_model, quick)


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
        return models.pictures(ddim(models.unet, x, cond, arm.times, arm.cfg, uncond)), {}
    with Guidance(Settings.parse({"negative": negative, **arm.nag}), models.unet, strict=True) as run:
        run.begin(list(arm.times))
        run.set_negative(models.encode([negative]))
        run.set_seeds(seeds)

        def before(index: int, t: int, rows: int) -> float:
            run.step_at(t)
            run.call([(row, row) for row in range(count)])
            return run.cfg_scale(arm.cfg)

        latents = ddim(models.unet, x, cond, arm.times, arm.cfg, uncond, before)
    return models.pictures(latents), run.reports


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
