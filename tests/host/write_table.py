"""Writes docs/HOSTS.md from the suite's result files: ``python tests/host/write_table.py docs/hosts/*.json``. What is
known of other hosts (docs/hosts/others.md) stands below.

``--check`` writes nothing and fails when the page is not what the files say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "HOSTS.md"
FOLDER = ROOT / "docs" / "hosts"
OTHERS = FOLDER / "others.md"
ORDER = ("Studio", "AUTOMATIC1111", "Forge", "reForge", "Forge Classic")
MARKS = {"works": "yes", "differs": "partly", "fails": "**no**", None: "not tried"}
HEAD = """\
# What works in which host

Written by the black-box tests of `tests/host` from their own results (`docs/hosts/*.json`), with `docs/hosts/others.md`
below; do not edit it by hand. They speak HTTP only and are the same for every host. To try one:

```
NAG_HOST_URL=http://127.0.0.1:7861 NAG_HOST_RESULTS=docs/hosts pytest tests/host
python tests/host/write_table.py docs/hosts/*.json
```

Link `tests/host/fault_extension` into the host's `extensions` folder to have faults injected there as well.
Random-weight checkpoints serve: the tests compare pixels, they do not judge pictures.
"""


def load(files: Sequence[Path]) -> list[dict]:
    """The results, in a fixed order of hosts."""
    found = [json.loads(file.read_text("utf-8")) for file in files]
    rank = {name: i for i, name in enumerate(ORDER)}
    return sorted(found, key=lambda r: (rank.get(r["host"], len(rank)), r["host"], r["model"]))


def table(hosts: Sequence[dict]) -> str:
    """The page."""
    names = [f"{h['host']}, {h['model']}" for h in hosts]
    known = [{entry["capability"]: entry for entry in h["results"]} for h in hosts]
    capabilities = list(dict.fromkeys(c for entries in known for c in entries))
    notes: list[str] = []
    lines = ["| capability | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines.append("| version | " + " | ".join(_version(h) for h in hosts) + " |")
    lines.append("| tried on | " + " | ".join(_dates(h) for h in hosts) + " |")
    for capability in capabilities:
        cells = [_cell(entries.get(capability), notes) for entries in known]
        lines.append(f"| {capability} | " + " | ".join(cells) + " |")
    text = HEAD + "\n" + "\n".join(lines) + "\n"
    if notes:
        text += "\n" + "\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1)) + "\n"
    return text


def _version(host: dict) -> str:
    return "of this repository" if host["host"] == "Studio" else host["version"].removeprefix("v")


def _dates(host: dict) -> str:
    dates = sorted({entry["date"] for entry in host["results"]})
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}" if dates else ""


def _cell(entry: dict | None, notes: list[str]) -> str:
    """A mark; with a number where a note tells why, or what was counted."""
    mark = MARKS[entry["outcome"] if entry else None]
    if entry and entry["outcome"] == "differs" and not any(kind == "passed" for kind in entry["tests"].values()):
        mark = "–"
    detail = entry["detail"] if entry else ""
    if not detail:
        return mark
    if entry["outcome"] == "works":
        return f"{mark} ({detail})"
    if detail not in notes:
        notes.append(detail)
    return f"{mark} [{notes.index(detail) + 1}]"


def main(argv: Sequence[str]) -> int:
    files = [Path(name) for name in argv if name != "--check"] or sorted(FOLDER.glob("*.json"))
    page = table(load(files)) + "\n" + OTHERS.read_text("utf-8")
    if "--check" in argv:
        return 0 if PAGE.exists() and PAGE.read_text("utf-8") == page else 1
    PAGE.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
