"""The model card: every figure in it is measured by this file (`nagtime.py train-tiny --measure`)."""
# ruff: noqa: E501  (the page is one text)

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from . import arch, captions, flux_card, flux_checkpoint, lora, lora_card, scenes, train, train_student, train_vae
from .demo import arms as demo_arms
from .evaluate import Arm, Models, evaluate, load_models
from .pairs import PAIRS
from .sampling import grid

SEEDS = range(9_000_000, 9_000_032)
"""Seeds of the measurement; none of them was used while the preset was tuned."""


UNRELATED = {pair.object: "cactus" if pair.object in scenes.PORTRAIT_OBJECTS else "beard" for pair in PAIRS}
"""The control's negatives: an object of the other kind of scene."""


def bar_arms() -> list[Arm]:
    """The demo's arms and the two controls: an empty and an unrelated negative under the same preset."""
    preset = next(arm.nag for arm in demo_arms() if arm.name == "NAG")
    return [
        *demo_arms(),
        Arm("control: empty negative", nag=preset, negative=""),
        Arm("control: unknown word", nag=preset, negative="car"),
        Arm("control: object of another scene", nag=preset, negative=UNRELATED),
    ]


def measure_student(models: Models, seeds: Sequence[int] = SEEDS, arms: Sequence[str] = ()) -> dict[str, Any]:
    """{arm: {"all": table, object: table …}} of the four-step student. arms: the names to measure (default: all)."""
    scores, _ = evaluate(models, [arm for arm in bar_arms() if not arms or arm.name in arms], seeds)
    return {name: {key: one.table() for key, one in by_pair.items()} for name, by_pair in scores.items()}


def measure_base(models: Models, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """The base at 25 steps with CFG 4 and the object as its ordinary negative (untreated: the same grid at CFG 1)."""
    arm = Arm("base, 25 steps, CFG 4, ordinary negative", cfg=4.0, times=tuple(grid(25)))
    scores, _ = evaluate(models, [arm], seeds)
    return {name: {key: one.table() for key, one in by_pair.items()} for name, by_pair in scores.items()}


def write(folder: Path) -> Path:
    """Measure the checkpoints in `folder` and write MODEL_CARD.md beside them."""
    began = time.time()
    student, base = load_models(folder / "doodle-student.safetensors"), load_models(folder / "doodle-base.safetensors")
    others = [arm.name for arm in bar_arms() if arm.name not in ("no NAG", "NAG")]
    results = measure_student(student, arms=["NAG"]) | measure_student(student, list(SEEDS)[:8], others)
    base_results = measure_base(base, list(SEEDS)[:2])
    sizes = {p.name: p.stat().st_size / 1e6 for p in sorted(folder.glob("doodle-*.safetensors"))}
    psnr = train_vae.psnr(student.vae, 64)
    text = _page(results, base_results, psnr, sizes, (time.time() - began) / 60)
    path = folder / "MODEL_CARD.md"
    path.write_text(text, encoding="utf-8")
    if (folder / "Lora" / f"{lora.NAME}.safetensors").exists():
        lora_card.write(folder)
    if flux_checkpoint.file_in(folder).exists():
        flux_card.write(folder)
    return path


def _rows(results: dict[str, Any]) -> str:
    lines = [
        "| arm | pictures | had the object | deleted | subject kept | clean | SSIM outside the object |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, tables in results.items():
        row = tables["all"]
        lines.append(
            f"| {name} | {row['n']} | {row['present_untreated']:.3f} | {row['deletion_rate']:.3f} | "
            f"{row['subject_kept']:.3f} | {row['clean']:.3f} | {row['ssim_outside_object'] or 0:.3f} |"
        )
    return "\n".join(lines)


def _pairs(results: dict[str, Any]) -> str:
    lines = [
        "| prompt | negative | had it | clean with NAG | clean with NAG Time | clean with CFG 2 |",
        "|---|---|---|---|---|---|",
    ]
    for pair in PAIRS:
        clean = [results[arm][pair.object]["clean"] for arm in ("NAG", "NAG Time", "CFG 2, same negative")]
        had = results["NAG"][pair.object]["present_untreated"]
        lines.append(f"| {pair.prompt} | {pair.object} | {had:.2f} | " + " | ".join(f"{c:.2f}" for c in clean) + " |")
    return "\n".join(lines)


def _page(results: dict[str, Any], base: dict[str, Any], psnr: float, sizes: dict[str, float], minutes: float) -> str:
    unet = sum(p.numel() for p in arch.build_unet().parameters()) / 1e6
    vae = sum(p.numel() for p in arch.build_vae().parameters()) / 1e6
    files = ", ".join(f"`{name}` {size:.1f} MB" for name, size in sizes.items())
    preset = next(arm.nag for arm in demo_arms() if arm.name == "NAG")
    return f"""# The doodle models

Two tiny text-to-image models, trained from nothing by `python nagtime.py train-tiny`, so that guidance can be tried and
*measured* without a download. {files}; float16, safetensors, SD 1.x single-file layout with a CompVis yaml beside each.
128×128 pictures. They draw doodles of what the captions below speak of and nothing else.

This page is written by `python nagtime.py train-tiny --measure` (torch {torch.__version__}, {minutes:.1f} minutes).

## Architecture

UNet {unet:.2f} M parameters ({arch.UNET_CHANNELS[0]} channels, mult {[c // arch.UNET_CHANNELS[0] for c in arch.UNET_CHANNELS]}, one
residual block a level, text attention on every level: 10 cross-attention layers), v-prediction, scaled-linear betas.
VAE {vae:.2f} M (8×, 4 channels, {arch.VAE_CHANNELS[0]} wide; latents whitened, scale factor {arch.SCALE_FACTOR}; its middle attention is
exported with a zero output, the identity). Text encoder: CLIP text model, hidden {arch.CONTEXT}, 2 layers, standard token ids and tokenizer
(`tokenizer/`, built from CLIP's published byte-pair merges, MIT licence); {len(captions.words())} words are known, all others share one row.

## Data

Drawn by `extras/doodle/scenes.py`: 42 % portraits, 8 % of what they wear alone, 40 % landscapes, 10 % shapes. Some words imply an object:
{", ".join(f"{w} → {o}" for w, o in scenes.IMPLIED_BY_WORD.items())}; it is there in {scenes.IMPLIED_RATE:.0%} of such scenes and in
{scenes.ELSEWHERE_RATE:.0%} of the others. Sentence captions name the implied object in {captions.NAMED_RATE:.0%} of the cases;
{captions.TAG_RATE:.0%} of the captions are tags with {captions.TAG_DROPOUT:.0%} dropout. Base: {train.SCENES} scenes.

## Recipe

Minutes of two CPU cores, as `train-tiny` budgets them: {", ".join(f"{k} {v:g}" for k, v in train.MINUTES.items())}.
1. VAE on 64-pixel crops (L1 + 2·MSE, fixed posterior spread {train_vae.POSTERIOR_STD}); decoder refined on whole pictures.
2. Base: UNet and text encoder together, 10 % empty captions, half of the timesteps from the noisier half, EMA.
3. Student: the base's DDIM trajectories ({train_student.TEACHER_STEPS} steps, CFG {train_student.TEACHER_CFG:g}) are drawn once; the UNet
   learns to cross each of the segments 999 → 749 → 499 → 249 → 0 in one DDIM step (progressive distillation, arXiv 2202.00512).

The shipped weights took a detour on the way to this recipe. The base was first trained for 44 minutes without the lone objects and
with plain people wearing things less often; then "glasses" had come to mean a face, and a negative drove the face away. It was
continued for 7 minutes with more worn objects and for 8 with the lone ones. The student was distilled from the first base (15
minutes), moved by the bases' weight difference, and distilled for 6 minutes more (1 472 and 1 472 trajectories). Other work ran on
the machine meanwhile. From nothing, by the recipe above, they have not been trained yet.

## Measured

Reconstruction of 64 held-out scenes by the VAE: {psnr:.1f} dB PSNR.

Student, 4 steps (999, 749, 499, 249), CFG 1, {len(PAIRS)} prompt pairs × {len(SEEDS)} seeds (the other arms: 8) not used in tuning. The one preset of all
pairs: {", ".join(f"{k} {v}" for k, v in preset.items())}. Presence is read from the pixels (`extras/doodle/detect.py`); deleted, kept and
clean (deleted *and* kept) are shares of the pictures whose untreated twin had the object.

{_rows(results)}

{_pairs(results)}

Base, 25 steps, 2 seeds a pair:

{_rows(base)}

## Limits

A toy: it shows that a guidance method acts and how it trades deletion against preservation. It says nothing about how large models
look. Words outside the vocabulary mean "something unknown".
"""
