"""`nagtime.py demo`: the same prompts and seeds without NAG, with NAG, with NAG Time; a picture, a table, a JSON
file. With `--methods`, every guidance method, on the student at CFG 1 and on the base model beside CFG. With `--flux`,
the doodle in Flux's layout."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from extras.nag.schedule import ranges

from .evaluate import PAIRS, Arm, Models, Pair, evaluate
from .method_arms import GROUPS, base_arms, student_arms
from .scenes import SIZE
from .train import MODELS

SEEDS = 6
FIRST_SEED = 5_000_000
LABEL, TOP = 190, 30
STUDENT, BASE = MODELS / "doodle-student.safetensors", MODELS / "doodle-base.safetensors"


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
    parser.add_argument("--ckpt", type=Path, default=None, help="another checkpoint than the student")
    parser.add_argument(
        "--methods",
        metavar="NAMES",
        help=f"all, or some of {', '.join(GROUPS)}, separated by commas; writes methods*.png and methods.json",
    )
    parser.add_argument(
        "--flux",
        action="store_true",
        help="the doodle in Flux's layout: NAG, NAG-PAG and controls; writes flux.png, .json",
    )
    options = parser.parse_args(argv)
    if not 1 <= options.seeds <= 64:
        parser.error(f"--seeds: {options.seeds} is not possible, allowed: 1 to 64")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.flux:
        from . import flux_demo

        try:
            result = flux_demo.run(options.ckpt, options.seeds, options.out)
        except (FileNotFoundError, ValueError) as error:
            parser.error(str(error))
        print(json.dumps(result, indent=1) if options.json else flux_demo.table(result))
        return 0
    if options.methods is not None:
        wanted = [name.strip().lower() for name in options.methods.split(",")]
        unknown = [name for name in wanted if name not in (*GROUPS, "all")]
        if unknown:
            parser.error(f"--methods: {unknown[0]!r} is not known, allowed: all, {', '.join(GROUPS)}")
        result = methods(options.ckpt, set(GROUPS) if "all" in wanted else set(wanted), options.seeds, options.out)
    else:
        result = run(options.ckpt or STUDENT, arms(), options.seeds, options.out / "demo.png")
        (options.out / "demo.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1) if options.json else "\n\n".join(map(table, result.get("models", [result]))))
    return 0


def run(ckpt: Path, ways: list[Arm], seeds: int, picture: Path) -> dict:
    """Draw all arms, write their grid; the figures, JSON-ready."""
    began = time.time()
    models = load_models(ckpt)
    scores, pictures = evaluate(models, ways, range(FIRST_SEED, FIRST_SEED + seeds), PAIRS, keep=3)
    grid(pictures, PAIRS, [arm.name for arm in ways], min(3, seeds)).save(picture)
    return {
        "checkpoint": ckpt.name,
        "picture": picture.name,
        "seeds": seeds,
        "first_seed": FIRST_SEED,
        "arms": {arm.name: scores[arm.name]["all"].table() for arm in ways},
        "pairs": {arm.name: {p.object: scores[arm.name][p.object].table() for p in PAIRS} for arm in ways},
        "settings": {arm.name: {"nag": arm.nag, "cfg": arm.cfg} for arm in ways},
        "seconds": round(time.time() - began, 1),
    }


def methods(ckpt: Path | None, wanted: set[str], seeds: int, out: Path) -> dict:
    """The methods on student and base (or on another checkpoint, as on the student)."""
    if ckpt is not None:
        results = [run(ckpt, student_arms(wanted), seeds, out / "methods.png")]
    else:
        results = [
            run(STUDENT, student_arms(wanted), seeds, out / "methods-student.png"),
            run(BASE, base_arms(wanted), seeds, out / "methods-base.png"),
        ]
    result = {"models": results}
    (out / "methods.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def table(result: dict) -> str:
    """The result as text."""
    wide = max(22, *(len(name) + 2 for name in result["arms"]))
    lines = [
        f"{'arm':{wide}}{'n':>5}{'had it':>8}{'deleted':>9}{'kept':>7}{'clean':>7}{'SSIM':>7}"
        f"  {'guided steps':14}{'s/picture':>9}  mean change"
    ]
    for name, row in result["arms"].items():
        steps = ranges(row["guided_steps"]) or "–"
        ssim = "–" if row["ssim_outside_object"] is None else f"{row['ssim_outside_object']:.3f}"
        changes = ", ".join(f"{method} {report['mean_change']:.1%}" for method, report in row["methods"].items())
        lines.append(
            f"{name:{wide}}{row['n']:>5}{row['present_untreated']:>8.2f}{row['deletion_rate']:>9.2f}"
            f"{row['subject_kept']:>7.2f}{row['clean']:>7.2f}{ssim:>7}  {steps:14}{row['seconds_per_image']:>9.2f}"
            f"  {changes}"
        )
    lines.append(
        f"{result['checkpoint']}, {result['picture']}. deleted, kept, clean: of the pictures that had the object "
        f"untreated; SSIM outside the object. {result['seconds']} s."
    )
    return "\n".join(lines)
