"""Which attention heads: "all", a list "0,3", a range "0-3", or both."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .layers import Layer
from .selector import LayerError

_PART = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def parse_heads(text: str, field: str = "heads") -> tuple[int, ...] | None:
    """The heads' numbers, rising, from 0; None for all. LayerError for what cannot be read."""
    if text.strip().lower() == "all":
        return None
    heads: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if high < low:
            raise LayerError(f"{field}: {part.strip()!r} cannot be read; allowed: all, a list 0,3 or a range 0-3")
        heads.update(range(low, high + 1))
    return tuple(sorted(heads))


def check_heads(heads: tuple[int, ...] | None, layers: Sequence[Layer], field: str = "heads") -> None:
    """LayerError unless each of ``heads`` exists in every one of ``layers``."""
    fewest = min(layers, key=lambda layer: layer.heads, default=None)
    if heads and fewest is not None and heads[-1] >= fewest.heads:
        raise LayerError(f"{field}: {heads[-1]} does not exist in {fewest.notation}; it has 0-{fewest.heads - 1}")
