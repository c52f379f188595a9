"""`nagtime.py train-tiny --lora`: makes the LoRA and measures it against the student; both go into the model card."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extras.studio import lora_files, lora_modules

from . import lora
from .demo import arms
from .evaluate import Arm, Models, draw, evaluate, load_models
from .pairs import PAIRS, Pair

SEEDS = range(9_100_000, 9_100_008)
PLACE = re.compile(r"\n?<!-- lora -->\n.*?<!-- /lora -->\n", re.DOTALL)


def switch_on(models: Models, path: Path, weight: float = 1.0) -> Callable[[], None]:
    """The LoRA acts in this model; returns what switches it off. ValueError where a part fits no layer."""
    known = lora_modules.places(models.unet, [models.text])
    away = []
    for place, factors in lora_files.read(path).parts.items():
        if place not in known or not lora_modules.fits(known[place], factors):
            raise ValueError(f"{path.name}: {place[1]} fits no layer of this model")
        away.append(lora_modules.attach(known[place], factors, lambda: weight))

    def off() -> None:
        for remove in away:
            remove()

    return off


def measure(folder: Path, path: Path, seeds: Sequence[int] = SEEDS, pairs: Sequence[Pair] = PAIRS) -> dict[str, Any]:
    """{"student": tables, "base with the LoRA": tables, "difference": mean |difference| of the two, 0 to 1}."""
    ways = [Arm("no NAG"), next(arm for arm in arms() if arm.name == "NAG")]
    student = load_models(folder / "doodle-student.safetensors")
    base = load_models(folder / "doodle-base.safetensors")
    switch_on(base, path)
    result: dict[str, Any] = {}
    for name, models in (("student", student), ("base with the LoRA", base)):
        scores, _ = evaluate(models, ways, seeds, pairs)
        result[name] = {arm.name: scores[arm.name]["all"].table() for arm in ways}
    apart = []
    for pair in pairs:
        one, other = (draw(models, pair.prompt, "", seeds[:4], ways[0])[0] for models in (student, base))
        apart.append(np.abs(one.astype(float) - other).mean() / 255)
    return result | {"difference": float(np.mean(apart))}


def write(folder: Path, rank: int = lora.RANK) -> Path:
    """Make the file, measure it, and put its section into MODEL_CARD.md."""
    path, share = lora.write(folder, rank)
    section = page(measure(folder, path), path.stat().st_size / 1e6, share, rank)
    card = folder / "MODEL_CARD.md"
    text = PLACE.sub("", card.read_text("utf-8"))
    before, limits, after = text.partition("\n## Limits\n")
    card.write_text(before + section + limits + after, encoding="utf-8")
    return path


def page(measured: dict[str, Any], megabytes: float, share: float, rank: int) -> str:
    """The section."""
    rows = []
    for model in ("student", "base with the LoRA"):
        for name, row in measured[model].items():
            rates = [row[key] for key in ("present_untreated", "deletion_rate", "subject_kept", "clean")]
            rows.append(f"| {model}, {name} | {row['n']} | " + " | ".join(f"{rate:.3f}" for rate in rates) + " |")
    table = "\n".join(rows)
    return f"""
<!-- lora -->
## The distillation as a LoRA

`Lora/{lora.NAME}.safetensors`, {megabytes:.1f} MB, rank {rank}: the low-rank part of (student - base) of every
linear layer and convolution of the UNet, {share:.0%} of the change's energy. On the base model at weight 1 it draws as
the student does; off, the base is the base. Made and measured by `python nagtime.py train-tiny --lora`: 4 steps, CFG 1,
{len(PAIRS)} prompt pairs × {len(SEEDS)} seeds. The pictures of student and LoRA differ by
{measured["difference"]:.1%} of the range on average.

| model, arm | pictures | had the object | deleted | subject kept | clean |
|---|---|---|---|---|---|
{table}
<!-- /lora -->
"""
