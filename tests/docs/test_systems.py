"""Every file, folder and test that docs/SYSTEMS.md names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "SYSTEMS.md"
NAMED = sorted(set(re.findall(r"`(?:python )?((?:tests|extras|plans)/[\w./]+(?:::\w+)?)", PAGE.read_text("utf-8"))))


@pytest.mark.parametrize("name", NAMED)
def test_it_is_there(name):
    path, _, test = name.partition("::")
    assert (ROOT / path).exists()
    if test:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE.read_text("utf-8"))
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_every_system_has_a_row():
    rows = re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(set(map(int, rows))) == list(range(1, 16))
