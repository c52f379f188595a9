"""`nagtime.py demo`: the same prompts and seeds without NAG, with NAG, with NAG Time; a picture, a table, a JSON
file. With `--methods`, every guidance method, on the student at CFG 1 and on the base model beside CFG. With `--flux`,
the doodle in Flux's layout."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from extras.nag.schedule import ranges

from . import method_demo
from .compare import Comparison, compare
from .evaluate import STUDENT, Arm
from .method_arms import GROUPS

SEEDS = 6


def arms() -> list[Arm]:
    """Untreated, the student's preset, the same with a window (NAG Time), and plain CFG with the same negative."""
    from extras.nag.settings import load_preset

    preset = dict(load_preset("Doodle student").settings)
    gated = dict(load_preset("Doodle NAG Time").settings)
    return [Arm("no NAG"), Arm("NAG", nag=preset), Arm("NAG Time", nag=gated), Arm("CFG 2, same negative", cfg=2.0)]


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    result = argparse.ArgumentParser(prog="nagtime.py demo", description=__doc__)
    add = result.add_argument
    add("--out", type=Path, default=Path("."), help="folder for demo.png and demo.json (default: here)")
    add("--json", action="store_true", help="print the JSON instead of the table")
    add("--seeds", type=int, default=SEEDS, help=f"seeds a prompt, 1 to 64 (default {SEEDS})")
    add("--ckpt", type=Path, default=None, help="another checkpoint than the student")
    add(
        "--methods",
        metavar="NAMES",
        help=f"all, or some of {', '.join(GROUPS)}, separated by commas; writes methods*.png and methods.json; a run "
        "that was stopped goes on",
    )
    add("--base-seeds", type=int, help="with --methods: seeds of the (slower) base model, 1 to 64 (default: --seeds)")
    add("--quick", action="store_true", help="with --methods: decode pictures in bfloat16")
    add("--docs", type=Path, help="with --methods all: write the tables into METHODS.md there, and methods.png")
    add(
        "--flux",
        action="store_true",
        help="the doodle in Flux's layout: NAG, NAG-PAG and controls; writes flux.png, .json",
    )
    return result


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit code."""
    known = parser()
    options = known.parse_args(argv)
    if options.docs is not None and (options.methods != "all" or options.ckpt is not None):
        known.error("--docs needs --methods all, on the two models of the repository")
    for name, value in (("--seeds", options.seeds), ("--base-seeds", options.base_seeds)):
        if value is not None and not 1 <= value <= 64:
            known.error(f"{name}: {value} is not possible, allowed: 1 to 64")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.flux:
        from . import flux_demo

        try:
            result = flux_demo.run(options.ckpt, options.seeds, options.out)
        except (FileNotFoundError, ValueError) as error:
            known.error(str(error))
        print(json.dumps(result, indent=1) if options.json else flux_demo.table(result))
        return 0
    if options.methods is not None:
        wanted = [name.strip().lower() for name in options.methods.split(",")]
        unknown = [name for name in wanted if name not in (*GROUPS, "all")]
        if unknown:
            known.error(f"--methods: {unknown[0]!r} is not known, allowed: all, {', '.join(GROUPS)}")
        groups = set(GROUPS) if "all" in wanted else set(wanted)
        result = method_demo.run(
            method_demo.Wanted(
                groups, options.seeds, options.out, options.ckpt, options.base_seeds, options.quick, options.docs
            )
        )
    else:
        picture = options.out / "demo.png"
        result = compare(Comparison(options.ckpt or STUDENT, arms(), options.seeds, picture))[0]
        (options.out / "demo.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1) if options.json else "\n\n".join(map(table, result.get("models", [result]))))
    return 0


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
