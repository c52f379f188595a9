"""docs/HEALTH.md: each part is written by the command that measured it."""

from __future__ import annotations

import re

from extras.studio.commands.environment import ROOT

PAGE = ROOT / "docs" / "HEALTH.md"


def write(part: str, text: str) -> None:
    """Put ``text`` between the part's marks. ValueError where the page has none of that name."""
    before = PAGE.read_text("utf-8")
    marks = re.compile(rf"(<!-- {part}: [^>]*-->\n).*?(<!-- /{part} -->)", re.DOTALL)
    after, found = marks.subn(lambda match: match[1] + text.rstrip() + "\n" + match[2], before)
    if found != 1:
        raise ValueError(f"{PAGE} has {found} parts named {part}; allowed: one")
    PAGE.write_text(after, "utf-8")


def read(part: str) -> str:
    """What stands between the part's marks."""
    found = re.search(rf"<!-- {part}: [^>]*-->\n(.*?)<!-- /{part} -->", PAGE.read_text("utf-8"), re.DOTALL)
    if found is None:
        raise ValueError(f"{PAGE} has no part named {part}")
    return found[1]
