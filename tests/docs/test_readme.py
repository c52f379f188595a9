"""The tables of the pages are those of the sources. `python tests/docs/test_readme.py` writes them anew."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from extras.nag.presetbook import list_presets, load_preset  # noqa: E402
from extras.nag.settings import FIELDS  # noqa: E402

README, DOCS = ROOT / "README.md", ROOT / "docs"
SHOWN = ("scale", "tau", "alpha")
HINTS = ("sampler", "scheduler", "steps", "cfg")


def parameters() -> str:
    """Markdown, a row per option."""
    lines = ["| field | in the panel | allowed | default | what it does |", "|---|---|---|---|---|"]
    for name, field in FIELDS.items():
        default = f"`{field.default}`" if field.default not in ("", None) else "(empty)"
        cells = (f"`{name}`", field.label, field.allowed().replace("|", "or"), default, field.help.replace("|", "or"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def recipes() -> str:
    """Markdown, a row per preset that comes along."""
    names = (*SHOWN, "window", *HINTS)
    lines = [f"| preset | {' | '.join(names)} | for | numbers from |", "|---" * (len(names) + 3) + "|"]
    for preset in filter(lambda p: p.builtin, map(load_preset, list_presets())):
        values = {field: FIELDS[field].default for field in (*SHOWN, "start", "end")} | preset.settings
        whole = (values["start"], values["end"]) == (0.0, 1.0)
        window = "all" if whole else f"{values['start']:g} to {values['end']:g}"
        cells = [f"**{preset.name}**", *(f"{values[f]:g}" for f in SHOWN), window]
        cells += [_hint(preset.host.get(hint)) for hint in HINTS] + [preset.note, preset.source]
        lines.append("| " + " | ".join(cell.replace("|", "or") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def effects() -> str:
    """Markdown, a row per value of the main parameters, from the numbers of their picture."""
    told = json.loads((DOCS / "pictures" / "parameters.json").read_text("utf-8"))["arms"]
    lines = ["| | gone | kept | SSIM outside the object |", "|---|---|---|---|"]
    for name, row in told.items():
        if name != "off":
            cells = (f"{row[key]:.0%}" for key in ("deletion_rate", "subject_kept"))
            lines.append(f"| {name} | {' | '.join(cells)} | {row['ssim_outside_object']:.3f} |")
    return "\n".join(lines) + "\n"


def _hint(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


TABLES = {
    "parameters": (DOCS / "PARAMETERS.md", parameters),
    "effects": (DOCS / "PARAMETERS.md", effects),
    "recipes": (DOCS / "RECIPES.md", recipes),
}


def part(name: str) -> re.Pattern[str]:
    """(the mark before, the mark after) of a written part."""
    return re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_that_of_the_sources(name):
    page, table = TABLES[name]
    found = part(name).search(page.read_text("utf-8"))
    assert found, f"{page.name} has lost its marks around the table"
    assert found[0] == found[1] + table() + found[2], "run: python tests/docs/test_readme.py"


def test_the_readme_names_every_command():
    from extras.studio.commands import COMMANDS

    text = README.read_text("utf-8")
    assert [name for name in COMMANDS if f"python nagtime.py {name}".strip() not in text] == []


@pytest.mark.parametrize("page", [README, *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_picture_names_the_command_that_made_it():
    """Beside it, or on the page that the picture's own command writes."""
    for page in (README, DOCS / "PARAMETERS.md", DOCS / "HOW.md"):
        text = page.read_text("utf-8")
        for picture in re.finditer(r"!\[[^]]*\]\((?!https?:)[^)]+\)", text):
            around = text[max(picture.start() - 300, 0) : picture.end() + 500]
            assert "python nagtime.py" in around, f"{page.name}: {picture[0]}"


def test_messages_in_the_troubleshooting_are_the_sources():
    """What stands in the first column as a message is said by the sources in these words."""
    rows = re.findall(r"^\| ([^|\n]*)\|", (DOCS / "TROUBLESHOOTING.md").read_text("utf-8"), re.MULTILINE)
    told = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    files = [file for folder in ("nag", "studio/page") for file in (ROOT / "extras" / folder).rglob("*.py")]
    sources = "\n".join(file.read_text("utf-8") for file in [*files, ROOT / "extras" / "studio" / "server.py"])
    assert len(told) > 15 and [text for text in told if text not in sources and not text.startswith("<")] == []


if __name__ == "__main__":
    for name, (page, table) in TABLES.items():
        page.write_text(part(name).sub(lambda m: m[1] + table() + m[2], page.read_text("utf-8")), "utf-8")  # noqa: B023
