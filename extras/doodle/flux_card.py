"""The Flux doodle's part of the model card, measured (`nagtime.py train-tiny --flux --measure`)."""
# ruff: noqa: E501  (the page is one text)

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from . import flux_arch, flux_stages, flux_train
from .flux_checkpoint import file_in, load
from .flux_measure import ARMS, NAG, NAG_PAG, NAG_TIME, PUBLISHED, Measured, measure, wilson
from .pairs import PAIRS
from .scores import Score

SEEDS = range(9_000_000, 9_000_020)
TITLE = "## The Flux doodle"
_OWN = re.compile(rf"\n*{re.escape(TITLE)}\n.*?(?=\n## |\Z)", re.DOTALL)


def write(folder: Path, seeds: Sequence[int] = SEEDS, say=print) -> Path:
    """Measure the folder's Flux doodle and put its section into the folder's MODEL_CARD.md, in place of an older one."""
    file = file_in(folder)
    pipe = load(file)
    section = _section(pipe, measure(pipe, seeds, say=say), file)
    page = folder / "MODEL_CARD.md"
    before = page.read_text(encoding="utf-8") if page.exists() else "# The doodle models\n"
    page.write_text(_OWN.sub("", before).rstrip() + "\n\n" + section, encoding="utf-8")
    return page


def _millions(*modules: torch.nn.Module) -> str:
    return f"{sum(p.numel() for module in modules for p in module.parameters()) / 1e6:.2f} M"


def _share(count: int, of: int) -> str:
    low, high = wilson(count, of)
    return f"{count / max(1, of):.2f} ({low:.2f}–{high:.2f})"


def _arms(measured: Measured) -> str:
    lines = [
        "| arm | pictures with the object | deleted | subject kept | deleted and kept | SSIM outside the object | features changed by |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        one, change = measured.all(arm.name), float(np.mean(measured.changes[arm.name]))
        shares = " | ".join(_share(count, one.had) for count in (one.deleted, one.kept, one.clean))
        lines.append(f"| {arm.name} | {one.had} | {shares} | {np.mean(one.ssim or [0.0]):.3f} | {change:.2f} |")
    return "\n".join(lines)


def _pairs(measured: Measured) -> str:
    names = [arm.name for arm in ARMS]
    lines = [f"| prompt | object | object there | subject there | {' | '.join(names)} |"]
    lines.append("|---|---|---|---|" + "---|" * len(names))
    for pair in PAIRS:
        had, subjects, count = measured.plain[pair.object]
        scores: list[Score] = [measured.scores[name][pair.object] for name in names]
        cells = " | ".join(f"{one.deleted} of {one.had}" for one in scores)
        lines.append(f"| {pair.prompt} | {pair.object} | {had / count:.2f} | {subjects / count:.2f} | {cells} |")
    had, subjects, count = (sum(column) for column in zip(*measured.plain.values(), strict=True))
    return "\n".join([*lines, f"| all | | {_share(had, count)} | {_share(subjects, count)} |" + " |" * len(names)])


def _in_words(settings: dict) -> str:
    return ", ".join(f"{name.removeprefix('nag_pag_')} {value:g}" for name, value in settings.items() if name != "nag")


def _section(pipe, measured: Measured, file: Path) -> str:
    minutes = ", ".join(f"{stage} {value:g}" for stage, value in flux_stages.MINUTES.items())
    count = sum(one[2] for one in measured.plain.values())
    return f"""{TITLE}

`flux/{file.name}` {file.stat().st_size / 1e6:.1f} MB, float16: the same scenes and captions in Flux's layout (schnell: no guidance embedding), made by
`python nagtime.py train-tiny --flux`, opened by `extras.doodle.flux_checkpoint.load()` as a diffusers `FluxPipeline`. This section is
written by `python nagtime.py train-tiny --flux --measure`.

Transformer {_millions(pipe.transformer)}: {flux_arch.DOUBLE_BLOCKS} double and {flux_arch.SINGLE_BLOCKS} single blocks, {flux_arch.HEADS} heads of {flux_arch.HEAD_DIM}, rotary positions {flux_arch.ROPE_AXES}, q/k norm, 64 image tokens
(2×2 latents each). Sequence encoder: T5 (v1.1), {_millions(pipe.text_encoder_2)}; pooled encoder: CLIP text model, {_millions(pipe.text_encoder)}; both of 2 layers over
{flux_arch.TEXT_TOKENS} tokens, each with a tokenizer of its own that knows the captions' words and is built from the list in the file. VAE: the base's.

Recipe, {flux_stages.SCENES} scenes, {flux_stages.TRAJECTORIES} trajectories; minutes of two CPU cores: {minutes}.
1. Rectified flow (arXiv 2209.03003), transformer and encoders together, {flux_train.EMPTY:.0%} empty captions; the pooled encoder's text is left empty in
   {flux_train.POOLED_EMPTY:.0%} of the others, so that a picture's content comes through attention, where it can be guided.
2. Piecewise straightening (arXiv 2405.07510): on trajectories of the flow ({flux_train.TEACHER_STEPS} steps, CFG {flux_train.TEACHER_CFG:g}) the transformer learns the one velocity
   between each two of sigma 1, .75, .5, .25, 0. It is then sampled at CFG 1 in 4 steps, or a multiple of 4.

Measured in {measured.steps} steps at CFG 1: {len(PAIRS)} prompts, {count} pictures an arm, 95 % intervals (Wilson) in brackets. A prompt's word implies the object and
does not name it; the negative is the object. Deletion counts among the pictures whose untreated twin (same prompt, same seed) has it.
NAG: {_in_words(NAG)}. NAG Time: {_in_words(NAG_TIME)}. As published: {_in_words(PUBLISHED)}. All blocks.
NAG-PAG: {_in_words(NAG_PAG)}, its own layers; it has no negative: where an object goes, that is none of its business. The controls have NAG's settings.

{_arms(measured)}

Deleted, pair by pair. Where a control deletes as much as NAG, it is the strength that does it and not the negative's words:

{_pairs(measured)}
"""
