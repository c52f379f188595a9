"""`python nagtime.py layers [--ckpt PATH] [--method NAME] [--select LAYERS]`: everything in a model that a method can
act on, under all its names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extras.studio.commands.environment import ROOT

HEAD = ("", "short", "place", "kind", "heads", "width", "taken by default", "name", "also called")


def main(argv: Sequence[str]) -> int:
    from extras.nag.methods import METHODS, NAG, THREE_WAY

    choices = [method.lower() for method in METHODS if method != THREE_WAY]
    parser = argparse.ArgumentParser(prog="nagtime.py layers", description=__doc__)
    parser.add_argument(
        "--ckpt",
        type=Path,
        default=ROOT / "models" / "doodle-student.safetensors",
        metavar="PATH",
        help="a .safetensors checkpoint, or models/flux/doodle-flux.safetensors (default: the small student)",
    )
    parser.add_argument(
        "--method", choices=choices, default=NAG.lower(), help="whose layers --select chooses from (default: nag)"
    )
    parser.add_argument(
        "--select",
        default="auto",
        metavar="LAYERS",
        help="mark what this selection takes, e.g. 'd0-d3,u2=0.5,!u1' (default: what the method takes by itself)",
    )
    options = parser.parse_args(argv)
    from extras.nag import LayerError, find_layers, select
    from extras.nag.layers import find_blocks
    from extras.nag.methods import candidates, chosen
    from extras.studio.checkpoint_files import CheckpointError

    try:
        model = _network(options.ckpt)
        layers = find_layers(model)
        blocks = [] if any(layer.kind == "joint" for layer in layers) else find_blocks(model)
        taken = {m: _names(*candidates(m, model), select) for m in METHODS}
        method = METHODS[choices.index(options.method)]
        mine, default = candidates(method, model)
        if not mine:
            raise LayerError(f"{method} is not for this model")
        marked = _names(mine, chosen(options.select, default), select)
    except (CheckpointError, LayerError) as error:
        print(f"nagtime layers: {error}", file=sys.stderr)
        return 1
    print(table([*blocks, *layers], marked, taken))
    count = f"{len(layers)} attention layers" + (f" in {len(blocks)} transformer blocks" if blocks else "")
    print(f"\n{options.ckpt.name}: {count}. {method} takes {len(marked)} (*), chosen by {options.select!r}.")
    return 0


def table(layers: Sequence[Any], marked: Mapping[str, float], taken: Mapping[str, Mapping[str, float]]) -> str:
    """One line per layer, columns aligned, blocks beside what is in them. ``marked``: name -> strength of those with a
    star; ``taken``: method -> the same of what it takes by itself."""
    order = {layer.name: i for i, layer in enumerate(layers) if layer.kind == "block"}
    rows = [HEAD]
    for layer in sorted(layers, key=lambda x: order.get(x.name, order.get(x.name.rpartition(".")[0], x.index))):
        strength = marked.get(layer.name, 0.0)
        star = "" if not strength else "*" if strength == 1.0 else f"*{strength:g}"
        of = ", ".join(method for method, names in taken.items() if layer.name in names)
        size = ("", "") if layer.kind == "block" else (str(layer.heads), str(layer.width))
        rows.append((star, layer.notation, layer.place, layer.kind, *size, of, layer.name, layer.alias))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _network(path: Path) -> Any:
    """What denoises in a checkpoint that the Studio can load, or in the doodle in Flux's layout. CheckpointError."""
    from extras.studio import checkpoints
    from extras.studio.checkpoint_files import is_flux_doodle
    from extras.studio.pipeline_folders import is_pipeline

    if is_pipeline(path):
        from extras.studio import flow_pipelines

        return flow_pipelines.open_folder(path).transformer
    if is_flux_doodle(path):
        from extras.doodle import flux_checkpoint

        return flux_checkpoint.read(path)[0].transformer
    return checkpoints.load(path, ROOT / "models" / "tokenizer")[0]


def _names(layers: Sequence[Any], selector: str, select: Any) -> dict[str, float]:
    """Name -> strength of what a selector takes."""
    if not layers:
        return {}
    return {layer.name: layer.strength for layer in select(layers, selector, layers[0].kind)}
