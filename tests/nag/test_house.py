"""The library keeps to itself: torch alone, no WebUI outside hosts/, no gradio outside ui/."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "extras" / "nag"
FILES = sorted(LIBRARY.rglob("*.py"))


def imported(path):
    """Top-level packages a file imports, at any depth of the code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_what_a_file_may_import(path):
    room = path.relative_to(LIBRARY).parts[0]
    allowed = set(sys.stdlib_module_names) | {"torch"}
    every_host = {"modules", "gradio", "fastapi", "pydantic", "httpx", "PIL", "numpy"}  # has these
    allowed |= {"hosts": {"diffusers", "modules", "ldm_patched", "gradio"}, "ui": every_host}.get(room, set())
    assert set(imported(path)) <= allowed


def fresh(code):
    """Run code in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=LIBRARY.parents[1], capture_output=True, text=True, timeout=120
    )


def test_the_core_needs_torch_alone():
    done = fresh(
        "import sys\n"
        "for name in ('diffusers', 'transformers', 'gradio', 'numpy.testing'): sys.modules[name] = None\n"
        "from extras.nag import Run, Settings, Schedule, Report, find_layers, normalized_guidance\n"
    )
    assert done.returncode == 0, done.stderr


def test_settings_and_schedule_need_not_even_torch():
    done = fresh(
        "import sys\nsys.modules['torch'] = None\n"
        "from extras.nag import FIELDS, Schedule, Settings\nfrom extras.nag.settings import list_presets\n"
        "assert Settings().schedule() == Schedule() and list_presets()\n"
    )
    assert done.returncode == 0, done.stderr


def test_unknown_names_are_refused():
    import extras.nag

    with pytest.raises(AttributeError, match="nothing"):
        _ = extras.nag.nothing
    for name in extras.nag.__all__:
        assert getattr(extras.nag, name)
