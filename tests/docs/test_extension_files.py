"""The files by which WebUIs know the extension: they read them in their own ways, and say little when one is wrong."""

from __future__ import annotations

import ast
import configparser
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TAGS = {
    "script", "localization", "tab", "dropdown", "ads", "training", "models", "UI related", "prompting", "editing",
    "manipulations", "online", "animation", "query", "science", "extras",
}  # fmt: skip
"""Those of the index, but for "installed", which is for the WebUI itself."""


def test_install_py_installs_nothing():
    """Hosts run it in a process of its own at every start."""
    statements = ast.parse((ROOT / "install.py").read_text(encoding="utf-8")).body
    assert all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in statements)


def test_metadata_names_the_extension():
    read = configparser.ConfigParser()
    read.read(ROOT / "metadata.ini", encoding="utf-8")
    assert read.sections() == ["Extension"]
    assert re.fullmatch(r"[a-z0-9_-]+", read["Extension"]["Name"])  # hosts compare names in small letters


def test_the_entry_for_the_index_fits_its_rules():
    text = (ROOT / "docs" / "index-entry.json").read_text(encoding="utf-8")
    entry = json.loads(text)
    assert set(entry) == {"name", "url", "description", "tags"}  # the date is added by the index
    assert re.fullmatch(r"https://[^ ]+\.git", entry["url"])
    assert entry["tags"] and set(entry["tags"]) <= TAGS and "online" not in entry["tags"]
    assert text.isascii() and 40 < len(entry["description"]) < 400


def test_no_top_level_file_has_a_name_that_a_host_uses():
    """The extension's root comes first where hosts look for modules while they load it."""
    ours = {path.stem for path in ROOT.glob("*.py")} | {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert not ours & {"launch", "webui", "modules", "modules_forge", "backend", "ldm_patched", "k_diffusion", "api"}
