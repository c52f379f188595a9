"""The README's table of parameters is the table of options. `python tests/docs/test_readme.py` writes it anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from extras.nag.settings import FIELDS  # noqa: E402

README = ROOT / "README.md"
PART = re.compile(r"(<!-- parameters: [^\n]*-->\n).*?(<!-- /parameters -->)", re.DOTALL)


def table() -> str:
    """Markdown, a row per option."""
    lines = ["| field | in the panel | allowed | default | what it does |", "|---|---|---|---|---|"]
    for name, field in FIELDS.items():
        default = f"`{field.default}`" if field.default not in ("", None) else "(empty)"
        cells = (f"`{name}`", field.label, field.allowed().replace("|", "or"), default, field.help.replace("|", "or"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def test_the_readme_has_the_table_of_options():
    found = PART.search(README.read_text("utf-8"))
    assert found, "README.md has lost its marks around the table"
    assert found[0] == found[1] + table() + found[2], "run: python tests/docs/test_readme.py"


def test_the_readme_names_every_command():
    from extras.studio.commands import COMMANDS

    text = README.read_text("utf-8")
    assert [name for name in COMMANDS if f"python nagtime.py {name}".strip() not in text] == []


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text("utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


if __name__ == "__main__":
    README.write_text(PART.sub(lambda m: m[1] + table() + m[2], README.read_text("utf-8")), "utf-8")
