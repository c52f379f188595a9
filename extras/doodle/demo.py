"""`nagtime.py demo`: the same prompts and seeds without NAG, with NAG, with NAG Time; a picture, a table, a JSON
file."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .evaluate import PAIRS, Arm, Models, Pair, evaluate
from .scenes import SIZE
from .train import MODELS

SEEDS = 6
FIRST_SEED = 5_000_000
LABEL, TOP = 190, 30


def load_models(path: Path) -> Models:
    """Open a doodle checkpoint as the Studio does (errors: `extras.studio` CheckpointError, naming the file)."""
    from extras.studio import checkpoints

    model, _, encoders = checkpoints.load(path, MODELS / "tokenizer")
    return Models(encoders[0], model.model.diffusion_model, model.first_stage_model)


def arms() -> list[Arm]:
    """Untreated, the student's preset, the same with a window (NAG Time), and plain CFG with the same negative."""
    from extras.nag.settings import load_preset

    preset = dict(load_preset("Doodle student").settings)
    gated = dict(load_preset("Doodle NAG Time").settings)
    return [Arm("no NAG"), Arm("NAG", nag=preset), Arm("NAG Time", nag=gated), Arm("CFG 2, same negative", cfg=2.0)]


def grid(
    pictures: dict[tuple[str, str], np.ndarray], pairs: tuple[Pair, ...], names: list[str], seeds: int = 3
) -> Image.Image:
    """A labelled grid: a row a pair, `seeds` pictures an arm."""
    width = LABEL + len(names) * (seeds * SIZE + 14)
    sheet = Image.new("RGB", (width, TOP + len(pairs) * (SIZE + 6)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, name in enumerate(names):
        left = LABEL + column * (seeds * SIZE + 14)
        pen.text((left + 4, 7), name, fill="black", font=font)
        for row, pair in enumerate(pairs):
            top = TOP + row * (SIZE + 6)
            if column == 0:
                pen.text((8, top + 42), f"“{pair.prompt}”".replace(" on a ", "\non a "), fill="black", font=font)
                pen.text((8, top + 88), f"without {pair.object}", fill=(180, 30, 40), font=font)
            for index, picture in enumerate(pictures[pair.object, name][:seeds]):
                sheet.paste(Image.fromarray(picture), (left + index * SIZE, top))
    return sheet


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="nagtime.py demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for demo.png and demo.json (default: here)")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"seeds a prompt, 1 to 64 (default {SEEDS})")
    parser.add_argument("--ckpt", type=Path, default=MODELS / "doodle-student.safetensors")
    options = parser.parse_args(argv)
    if not 1 <= options.seeds <= 64:
        parser.error(f"--seeds: {options.seeds} is not possible, allowed: 1 to 64")
    began = time.time()
    models, ways = load_models(options.ckpt), arms()
    scores, pictures = evaluate(models, ways, range(FIRST_SEED, FIRST_SEED + options.seeds), PAIRS, keep=3)
    tables = {arm.name: scores[arm.name]["all"].table() for arm in ways}
    per_pair = {arm.name: {p.object: scores[arm.name][p.object].table() for p in PAIRS} for arm in ways}
    settings = {arm.name: {"nag": arm.nag, "cfg": arm.cfg} for arm in ways}
    result = {
        "checkpoint": options.ckpt.name,
        "seeds": options.seeds,
        "first_seed": FIRST_SEED,
        "arms": tables,
        "pairs": per_pair,
        "settings": settings,
        "seconds": round(time.time() - began, 1),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    shown = min(3, options.seeds)
    grid(pictures, PAIRS, [a.name for a in ways], shown).save(options.out / "demo.png")
    (options.out / "demo.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1) if options.json else table(result))
    return 0


def table(result: dict) -> str:
    """The result as text."""
    lines = [
        f"{'arm':22}{'n':>5}{'had it':>8}{'deleted':>9}{'kept':>7}{'clean':>7}{'SSIM':>7}"
        f"  {'guided steps':14}{'s/picture':>9}"
    ]
    for name, row in result["arms"].items():
        steps = ", ".join(map(str, row["guided_steps"])) or "–"
        ssim = "–" if row["ssim_outside_object"] is None else f"{row['ssim_outside_object']:.3f}"
        lines.append(
            f"{name:22}{row['n']:>5}{row['present_untreated']:>8.2f}{row['deletion_rate']:>9.2f}{row['subject_kept']:>7.2f}"
            f"{row['clean']:>7.2f}{ssim:>7}  {steps:14}{row['seconds_per_image']:>9.2f}"
        )
    lines.append(
        f"deleted, kept, clean: of the pictures that had the object untreated; SSIM outside the object. "
        f"{result['seconds']} s. demo.png, demo.json written."
    )
    return "\n".join(lines)
