"""`python nagtime.py bench`: what guidance costs on this machine, as a table, bench.json and bench.svg."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extras.studio.commands.environment import ROOT

CPU_SIZES = {"sd15": ("float32", 512), "sdxl": ("bfloat16", 768), "flux": ("bfloat16", 1024)}
GPU_SIZES = {"sd15": ("float16", 512), "sdxl": ("bfloat16", 1024), "flux": ("bfloat16", 1024)}
TINY_SIZE = ("float32", 128)
ASKING_ROUNDS = 60
MODELS = ("sd15", "sdxl", "flux", "tiny-sd15", "tiny-sdxl", "tiny-flux")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nagtime.py bench", description=__doc__)
    add = parser.add_argument
    models = f"of {', '.join(MODELS)} (default: the first three; no name: none, for the curves alone)"
    blocks = "N + 2 N of Flux's 19 + 38 blocks (default: 2 on a CPU, all that fit on a GPU)"
    minutes = "begin no new round after so long, in all (but at least three for each model)"
    curves = "the model for cost against tokens, batch, resolution, layers and share of steps; none leaves that out"
    add("--models", nargs="*", choices=MODELS, default=list(MODELS[:3]), metavar="NAME", help=models)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="default: by model and device")
    add("--resolution", type=_resolution, help="pixels of the edge (default: by model and device)")
    add("--batch", type=_positive, default=1)
    add("--flux-blocks", type=_positive, metavar="N", help=blocks)
    add("--steps", nargs="+", metavar="STEP", help="only these, e.g. 'NAG fused', and what they are compared with")
    add("--rounds", type=_positive, default=15, help="at most (default 15)")
    add("--minutes", type=float, help=minutes)
    add("--threads", type=_positive, help="of torch on a CPU (default: its own choice)")
    add("--curves", choices=(*MODELS, "none"), default="sd15", help=curves)
    add("--curve-resolution", type=_resolution, default=256)
    add("--curve-rounds", type=_positive, default=5)
    add("--out", type=Path, default=Path("bench"), metavar="FOLDER", help="default: bench/")
    add("--no-memory", action="store_true", help="leave out the peaks of memory")
    add("--add", action="store_true", help="keep what bench.json in that folder says of other models and types")
    add("--docs", action="store_true", help="also write docs/PERFORMANCE.md, with its numbers and picture")
    options = parser.parse_args(argv)
    if options.steps:
        from extras.bench.arms import WHAT

        unknown = [name for name in options.steps if name not in WHAT]
        if unknown:
            parser.error(f"argument --steps: {unknown[0]!r}; allowed: {', '.join(WHAT)}")
    return options


def _positive(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: 1 or more")
    return value


def _resolution(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 64 or value % 64:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a multiple of 64")
    return value


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("nagtime bench: --device cuda: torch finds no CUDA device here", file=sys.stderr)
        return 1
    chosen = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(chosen)
    if options.threads:
        torch.set_num_threads(options.threads)
    result = run(options, device, "python nagtime.py bench " + shlex.join(_measuring(argv)))
    if options.add and (options.out / "bench.json").is_file():
        result = joined(json.loads((options.out / "bench.json").read_text("utf-8")), result)
    from extras.bench.plot import svg
    from extras.bench.report import terminal

    print(terminal(result))
    write(options.out / "bench.json", json.dumps(result, indent=1) + "\n")
    write(options.out / "bench.svg", svg(result))
    if options.docs and result["models"]:
        write_docs(result)
    return 0 if result["models"] or result["curves"] else 1


def _measuring(argv: Sequence[str]) -> list[str]:
    """What of a command line names the measurement: not the folder of this machine into which it was written."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--out")
    return where.parse_known_args(argv)[1]


def run(options: argparse.Namespace, device: Any, command: str) -> dict[str, Any]:
    """The whole record, JSON-ready."""
    import torch

    from extras.bench.asking import asked
    from extras.bench.curves import curves
    from extras.bench.machine import machine
    from extras.bench.measure import Plan, measure
    from extras.bench.pretended import launches
    from extras.bench.shapes import SHAPES, Subject, build, fits, free_bytes, reduced
    from extras.bench.targets import targets

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    about = machine(device, torch.get_num_threads())
    result: dict[str, Any] = {
        "models": [],
        "curves": {},
        "curves_of": "",
        "curves_command": command,
        "curves_machine": about,
        "skipped": [],
    }
    jobs = len(options.models) + (options.curves != "none")
    seconds = None if options.minutes is None else 60 * options.minutes / jobs
    for name in options.models:
        dtype, resolution = sizes(name, device.type, options)
        shape, free = SHAPES[name], free_bytes(device)
        if name == "flux":
            most = options.flux_blocks or (2 if device.type == "cpu" else 19)
            shape = reduced(shape, dtype, free, most)
        if not fits(shape, dtype, free):
            result["skipped"].append(f"{name} in {dtype}: {free / 1e9:.1f} GB are free, which is not enough")
            continue
        plan = Plan(device, options.rounds, seconds, not options.no_memory, options.steps)
        record = measure(shape, dtype, resolution, plan, say, options.batch)
        record |= {"targets": targets(record), "command": command, "date": datetime.date.today().isoformat()}
        record["machine"] = about
        if device.type != "cuda" and shape.kind == "unet":
            try:
                record["on_gpu"] = launches(name, *sizes(name, "cuda", options))
            except Exception as error:  # a count beside the measurement, on paths of torch that change
                result["skipped"].append(f"what {name} would ask of a GPU: {type(error).__name__}: {error}"[:300])
        if shape.kind == "unet":
            record["asked"] = asked(name, ASKING_ROUNDS)
        result["models"].append(record)
    if options.curves != "none":
        dtype, resolution = sizes(options.curves, device.type, options)
        resolution = min(resolution, options.curve_resolution)
        shape = SHAPES[options.curves]
        if shape.kind == "flux" or not fits(shape, dtype, free_bytes(device)):
            result["skipped"].append(f"curves on {options.curves}: a UNet that fits into memory is needed")
        else:
            subject = Subject(shape, build(shape, device, dtype), device, dtype, resolution)
            result["curves_of"] = f"{shape.name}, {str(dtype).removeprefix('torch.')}, {resolution} x {resolution}"
            result["curves"] = curves(subject, options.curve_rounds, say)
    if device.type != "cuda":
        result["skipped"].append("times, kernel launches and synchronisations on a real GPU: no CUDA device was there")
    return result


def joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Both, what is new in the place of what it repeats (the same model in the same type on the same machine); models
    in the order in which they are known."""

    def kind(model: dict[str, Any]) -> tuple[int, str, str]:
        return MODELS.index(model["model"]), model["dtype"], model["machine"]["processor"] + model["machine"]["device"]

    models = {kind(model): model for model in [*before["models"], *now["models"]]}
    measured = {f"{model['model']} in torch.{model['dtype']}" for model in models.values()}
    curves = now if now["curves"] else before
    skipped = [text for text in before["skipped"] if text.partition(":")[0] not in measured]
    return {
        **now,
        **{key: curves[key] for key in ("curves", "curves_of", "curves_command", "curves_machine")},
        "models": [models[key] for key in sorted(models)],
        "skipped": list(dict.fromkeys([*skipped, *now["skipped"]])),
    }


def sizes(name: str, device: str, options: argparse.Namespace) -> tuple[Any, int]:
    """(dtype, resolution) of a model."""
    import torch

    dtype, resolution = (GPU_SIZES if device == "cuda" else CPU_SIZES).get(name, TINY_SIZE)
    return getattr(torch, options.dtype or dtype), options.resolution or resolution


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    print(f"written: {path}")


def write_docs(result: dict[str, Any], docs: Path = ROOT / "docs") -> None:
    """The page, its raw numbers, its picture."""
    from extras.bench.plot import svg
    from extras.bench.report import page

    write(docs / "performance" / "bench.json", json.dumps(result, indent=1) + "\n")
    write(docs / "performance" / "bench.svg", svg(result))
    write(docs / "PERFORMANCE.md", page(result, "performance/bench.svg"))
