"""The slope of a server's memory, with its interval; and whether a soak was passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

BLOCKS = 20
LEAST = 400
"""Pictures after the warm-up, below which no slope is told: the allocator is still filling its pools."""
MOST_SLOPE = 1.0
"""MB per 100 pictures that the interval's lower end must not exceed."""
SPARE = 4
"""So many threads or files more than after the warm-up are within what a server's pool does."""


class Slope(NamedTuple):
    """MB per 100 pictures: ``value`` and its 95 % interval."""

    value: float
    low: float
    high: float


def slope(samples: Sequence[tuple[int, int]], after: int) -> Slope | None:
    """``samples``: (pictures so far, bytes); those of the first ``after`` pictures are the warm-up.

    A line through the means of up to 20 blocks of equally many pictures, so that neighbours, which are alike, do not
    count as independent; Student's interval. None for fewer than LEAST pictures, or five blocks.
    """
    kept = [(n, size) for n, size in samples if n >= after]
    if not kept or kept[-1][0] - kept[0][0] < LEAST:
        return None
    first, last = kept[0][0], kept[-1][0]
    blocks: dict[int, list[tuple[int, int]]] = {}
    for n, size in kept:
        blocks.setdefault(min(BLOCKS - 1, (n - first) * BLOCKS // (last - first)), []).append((n, size))
    if len(blocks) < 5:
        return None
    xs = [sum(n for n, _ in block) / len(block) / 100 for block in blocks.values()]
    ys = [sum(size for _, size in block) / len(block) / 2**20 for block in blocks.values()]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    sxx = sum((x - mx) ** 2 for x in xs)
    value = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sxx
    rest = sum((y - my - value * (x - mx)) ** 2 for x, y in zip(xs, ys, strict=True))
    half = _student(len(xs) - 2) * math.sqrt(rest / (len(xs) - 2) / sxx)
    return Slope(value, value - half, value + half)


def _student(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def problems(result: dict[str, Any]) -> list[str]:
    """Why a soak was not passed; empty where it was."""
    found = [f"{len(result['wrong'])} answers differ from the same request alone: {result['wrong'][:5]}"] * bool(
        result["wrong"]
    )
    if result["failed"]:
        found.append(f"{len(result['failed'])} requests failed: {result['failed'][:5]}")
    before, warm, end = (result["accounts"][name] for name in ("before", "warm", "end"))
    for name in ("taps", "hooks", "replaced", "callbacks", "options"):
        if end[name] != before[name]:
            found.append(f"{name}: {before[name]} before, {end[name]} at the end")
    if end["taps"]:
        found.append(f"{end['taps']} hooks of ours are left")
    for name in ("threads", "files"):
        if end[name] > warm[name] + SPARE:
            found.append(f"{name}: {warm[name]} after the warm-up, {end[name]} at the end")
    if result["slope"] and result["slope"][1] > MOST_SLOPE:
        value, low, high = result["slope"]
        found.append(f"memory grows by {value:.2f} MB per 100 pictures [{low:.2f}, {high:.2f}]")
    return found
