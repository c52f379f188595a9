"""The Flux doodle's part of the model card, measured (`nagtime.py train-tiny --flux --measure`)."""
# ruff: noqa: E501  (the page is one text)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from . import flux_arch, flux_stages, flux_train
from .evaluate import PAIRS
from .flux_checkpoint import PATH, load
from .flux_measure import Presence, presence

SEEDS = range(9_000_000, 9_000_032)
STEPS = (4, 8)
TITLE = "## The Flux doodle"


def write(folder: Path, seeds: Sequence[int] = SEEDS) -> Path:
    """Measure the folder's Flux doodle and put its section at the end of the folder's MODEL_CARD.md."""
    file = folder / PATH.name
    pipe = load(file)
    measured = {steps: presence(pipe, seeds, steps) for steps in STEPS}
    page = folder / "MODEL_CARD.md"
    before = page.read_text(encoding="utf-8").partition(TITLE)[0] if page.exists() else "# The doodle models"
    page.write_text(before.rstrip() + "\n\n" + _section(pipe, measured, file, len(seeds)), encoding="utf-8")
    return page


def _millions(*modules: torch.nn.Module) -> str:
    return f"{sum(p.numel() for module in modules for p in module.parameters()) / 1e6:.2f} M"


def _table(measured: dict[int, dict[str, Presence]]) -> str:
    steps = list(measured)
    head = [f"object, {n} steps | subject, {n} steps" for n in steps]
    lines = ["| prompt | object | " + " | ".join(head) + " |", "|---|---" + "|---|---" * len(steps) + "|"]
    for pair in PAIRS:
        cells = [f"{measured[n][pair.object].object:.2f} | {measured[n][pair.object].subject:.2f}" for n in steps]
        lines.append(f"| {pair.prompt} | {pair.object} | " + " | ".join(cells) + " |")
    means = [
        f"{sum(one.object for one in rows.values()) / len(rows):.3f} | {sum(one.subject for one in rows.values()) / len(rows):.3f}"
        for rows in measured.values()
    ]
    return "\n".join([*lines, "| all | | " + " | ".join(means) + " |"])


def _section(pipe, measured: dict[int, dict[str, Presence]], file: Path, seeds: int) -> str:
    minutes = ", ".join(f"{stage} {value:g}" for stage, value in flux_stages.MINUTES.items())
    return f"""{TITLE}

`{file.name}` {file.stat().st_size / 1e6:.1f} MB, float16: the same scenes and captions in Flux's layout (schnell: no guidance embedding), made by
`python nagtime.py train-tiny --flux`, opened by `extras.doodle.flux_checkpoint.load()` as a diffusers `FluxPipeline`. This section is
written by `python nagtime.py train-tiny --flux --measure`.

Transformer {_millions(pipe.transformer)}: {flux_arch.DOUBLE_BLOCKS} double and {flux_arch.SINGLE_BLOCKS} single blocks, {flux_arch.HEADS} heads of {flux_arch.HEAD_DIM}, rotary positions {flux_arch.ROPE_AXES}, q/k norm, 64 image tokens
(2×2 latents each). Sequence encoder: T5 (v1.1), {_millions(pipe.text_encoder_2)}; pooled encoder: CLIP text model, {_millions(pipe.text_encoder)}; both of 2 layers over
{flux_arch.TEXT_TOKENS} tokens, each with a tokenizer of its own that knows the captions' words and is built from the list in the file. VAE: the base's.

Recipe, {flux_stages.SCENES} scenes; minutes of two CPU cores: {minutes}.
1. Rectified flow (arXiv 2209.03003), transformer and encoders together, {flux_train.EMPTY:.0%} empty captions; the pooled encoder's text is left empty in
   {flux_train.POOLED_EMPTY:.0%} of the others, so that a picture's content comes through attention, where it can be guided.
2. Piecewise straightening (arXiv 2405.07510): on trajectories of the flow ({flux_train.TEACHER_STEPS} steps, CFG {flux_train.TEACHER_CFG:g}) the transformer learns the one velocity
   between each two of sigma 1, .75, .5, .25, 0. It is then sampled at CFG 1 in 4 steps, or a multiple of 4.

Untreated pictures, {len(PAIRS)} prompts × {seeds} seeds: share with the object that the prompt implies and does not name, share with the subject.

{_table(measured)}
"""
