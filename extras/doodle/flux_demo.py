"""`nagtime.py demo --flux`: the Flux doodle without guidance, with NAG, with NAG-PAG and with two controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .flux_checkpoint import PATH, load
from .flux_measure import ARMS, Measured, measure, wilson
from .pairs import PAIRS
from .sheets import grid

FIRST_SEED = 5_000_000
PLAIN = "no NAG"


def run(ckpt: Path | None, seeds: int, out: Path) -> dict[str, Any]:
    """Draw all arms, write flux.png and flux.json into the folder ``out``; the figures, JSON-ready. Raises what
    flux_checkpoint.load() does."""
    path = ckpt or PATH
    pipe = load(path)
    measured = measure(pipe, range(FIRST_SEED, FIRST_SEED + seeds), keep=3)
    picture(measured).save(out / "flux.png")
    result = {"checkpoint": path.name, "picture": "flux.png", "first_seed": FIRST_SEED, **figures(measured)}
    (out / "flux.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def picture(measured: Measured) -> Any:
    """A labelled grid: a row a pair, up to three pictures an arm."""
    names = [PLAIN, *(arm.name for arm in ARMS)]
    kept = {(of, name or PLAIN): pictures for (of, name), pictures in measured.kept.items()}
    return grid(kept, PAIRS, names, min(len(next(iter(kept.values()))), 3))


def figures(measured: Measured) -> dict[str, Any]:
    """JSON-ready: of the untreated pictures, and of every arm with its 95 % intervals."""
    had, subjects, count = (sum(column) for column in zip(*measured.plain.values(), strict=True))
    arms = {}
    for arm in ARMS:
        one = measured.all(arm.name)
        arms[arm.name] = {
            **{
                name: value for name, value in one.table().items() if name in ("deletion_rate", "subject_kept", "clean")
            },
            "pictures": one.n,
            "had_the_object": one.had,
            "deletion_interval": wilson(one.deleted, one.had),
            "ssim_outside_object": float(np.mean(one.ssim)) if one.ssim else None,
            "mean_change": float(np.mean(measured.changes[arm.name])),
        }
    return {
        "steps": measured.steps,
        "pictures": count,
        "object_present": had / count,
        "subject_present": subjects / count,
        "seconds": round(measured.seconds, 1),
        "arms": arms,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [
        f"{result['checkpoint']}, {result['steps']} steps: {result['pictures']} pictures, the object in "
        f"{result['object_present']:.2f}, the subject in {result['subject_present']:.2f}",
        f"{'arm':30s} deleted (95 %)      kept  clean",
    ]
    for name, arm in result["arms"].items():
        low, high = arm["deletion_interval"]
        share = f"{arm['deletion_rate']:.2f} ({low:.2f}-{high:.2f})"
        lines.append(f"{name:30s} {share:18s}  {arm['subject_kept']:.2f}  {arm['clean']:.2f}")
    return "\n".join([*lines, f"{result['picture']}: {result['seconds']} s"])
