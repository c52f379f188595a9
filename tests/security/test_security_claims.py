"""Every claim of SECURITY.md names tests, and they exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
LINES = [line for line in TEXT.splitlines() if line.startswith("| ") and line != "| claim | test |"]
ROWS = [line.strip("| ").split(" | ") for line in LINES]
NAMED = sorted(set(re.findall(r"tests/[\w./]+\.py(?:::\w+)?", TEXT)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_claim_names_its_tests(row):
    assert len(row) == 2 and re.fullmatch(r"`tests/[\w./]+\.py::\w+`(, `tests/[\w./]+\.py::\w+`)*", row[1]), row


@pytest.mark.parametrize("name", NAMED)
def test_it_exists(name):
    path, _, test = name.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert not test or test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_attack_is_a_claim():
    """No test of tests/security is left out of the page."""
    here = Path(__file__)
    for path in sorted(here.parent.glob("test_security_*.py")):
        if path != here:
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    assert f"{path.relative_to(ROOT).as_posix()}::{node.name}" in TEXT
