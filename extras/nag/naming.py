"""Module names in the other family's notation: ldm/sgm ``input_blocks.4.1`` = diffusers
``down_blocks.1.attentions.0``.

Both number the same blocks: ldm counts every (ResBlock, transformer) pair of a path in one list, with the
down- and upsamplers between the levels; diffusers nests them in levels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import nn


def other_family(unet: nn.Module, family: str) -> Callable[[str], str]:
    """A function that gives a module name of this UNet in the other notation, "" where it has none."""
    table = _from_ldm(unet) if family == "ldm" else _from_diffusers(unet)

    def rename(name: str) -> str:
        head = re.match(
            r"(mid_block\.attentions\.\d+|\w+\.\d+\.attentions\.\d+|middle_block\.\d+|\w+\.\d+\.\d+)\.", name
        )
        new = table.get(head[1]) if head else None
        return f"{new}.{name[head.end() :]}" if head and new else ""

    return rename


def _from_diffusers(unet: Any) -> dict[str, str]:
    table = {f"mid_block.attentions.{i}": f"middle_block.{1 + 2 * i}" for i in range(_length(unet.mid_block))}
    place = 1  # input_blocks.0 is the first convolution
    for level, block in enumerate(unet.down_blocks):
        for i in range(_length(block)):
            table[f"down_blocks.{level}.attentions.{i}"] = f"input_blocks.{place + i}.1"
        place += len(block.resnets) + 1  # and the downsampler
    place = 0
    for level, block in enumerate(unet.up_blocks):
        for i in range(_length(block)):
            table[f"up_blocks.{level}.attentions.{i}"] = f"output_blocks.{place + i}.1"
        place += len(block.resnets)
    return table


def _from_ldm(unet: Any) -> dict[str, str]:
    table = {f"middle_block.{1 + 2 * i}": f"mid_block.attentions.{i}" for i in range(len(unet.middle_block) // 2)}
    level = place = 0
    for i, block in enumerate(unet.input_blocks):
        if i == 0:
            continue
        if len(block) == 1 and _changes_size(block[0], "down"):
            level, place = level + 1, 0
            continue
        table[f"input_blocks.{i}.1"] = f"down_blocks.{level}.attentions.{place}"
        place += 1
    level = place = 0
    for i, block in enumerate(unet.output_blocks):
        table[f"output_blocks.{i}.1"] = f"up_blocks.{level}.attentions.{place}"
        place += 1
        if _changes_size(block[-1], "up"):
            level, place = level + 1, 0
    return table


def _length(block: Any) -> int:
    found = getattr(block, "attentions", None)
    return len(found) if found is not None else 0


def _changes_size(module: nn.Module, way: str) -> bool:
    """Downsample / Upsample, or a ResBlock that does their work (resblock_updown)."""
    return f"{way}sample" in type(module).__name__.lower() or getattr(module, "updown", False) is True
