"""Which preset goes with the model or LoRA in use, by its name. A suggestion, never applied by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .presetbook import load_builtin

_EDGE = r"(?:(?<![a-z])|(?<=xl))"  # "flash" in "flash-sdxl" and "someXLflash", not in "newflash"


def suggest(names: Iterable[str]) -> str:
    """The name of our preset that the first of ``names`` (LoRAs before the checkpoint) suggests, or "".

    The longest match wins, so that "flux1-schnell" is schnell and "sd3.5_large_turbo" is not SDXL Turbo.
    """
    for name in names:
        found: list[tuple[int, str]] = []
        for preset in load_builtin():
            for pattern in preset.match:
                hit = re.search(_EDGE + pattern, name.lower())
                if hit:
                    found.append((hit.end() - hit.start(), preset.name))
        if found:
            return max(found, key=lambda pair: pair[0])[1]
    return ""
