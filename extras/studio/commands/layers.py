"""`python nagtime.py layers [--ckpt PATH]`: a table of every layer of a model that can be guided."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from extras.studio.commands.environment import ROOT


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="nagtime.py layers", description="List every layer that can be guided.")
    parser.add_argument(
        "--ckpt",
        type=Path,
        default=ROOT / "models" / "doodle-student.safetensors",
        metavar="PATH",
        help="a .safetensors checkpoint (default: the small student that comes along)",
    )
    parser.add_argument(
        "--select", default="all", metavar="LAYERS", help="mark what this selection takes, e.g. 'd0-d3,u2,!u1'"
    )
    options = parser.parse_args(argv)
    from extras.nag import LayerError, find_layers, select
    from extras.studio import checkpoints
    from extras.studio.checkpoint_files import CheckpointError

    try:
        model = checkpoints.load(options.ckpt, ROOT / "models" / "tokenizer")[0]
        layers = find_layers(model)
        chosen = {layer.index for layer in select(layers, options.select)}
    except (CheckpointError, LayerError) as error:
        print(f"nagtime layers: {error}", file=sys.stderr)
        return 1
    print(table(layers, chosen))
    print(f"\n{options.ckpt.name}: {len(layers)} attention layers, {len(chosen)} chosen by {options.select!r} (*)")
    return 0


def table(layers: Sequence, chosen: set[int]) -> str:
    """One line per layer, columns aligned; ``chosen`` are the indices to mark with a star."""
    rows = [("", "short", "kind", "heads", "width", "name")]
    rows += [
        (
            "*" if layer.index in chosen else "",
            layer.notation,
            layer.kind,
            str(layer.heads),
            str(layer.width),
            layer.name,
        )
        for layer in layers
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
