"""`python nagtime.py mutants`: changes the formulas one operator at a time and counts the changes that tests notice.

mutmut does it, in a copy of the library and its tests. A change that no test notices must stand in
tests/nag/mutants_explained.json with the reason why it changes nothing that counts; else the command fails. What mutmut
does not change: numbers outside of functions, defaults of dataclasses.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from extras.studio.commands.environment import ROOT

EXPLAINED = ROOT / "tests" / "nag" / "mutants_explained.json"
TARGETS = {
    "extras/nag/schedule.py": ("tests/nag/test_schedule.py", "tests/nag/test_schedule_parts.py"),
    "extras/nag/maths.py": ("tests/nag/test_maths.py", "tests/nag/test_maths_parts.py"),
    "extras/nag/predictions/formula.py": ("tests/nag/test_formula.py",),
    "extras/nag/windows.py": ("tests/nag/test_windows.py",),
    "extras/nag/branches/padding.py": ("tests/nag/test_padding.py",),
    "extras/nag/sdpa.py": ("tests/nag/test_sdpa.py",),
}
"""File -> the tests that must notice."""
_NOT_NOTICED = (0, 33)  # mutmut's: the tests pass; no test comes there


class Change(NamedTuple):
    """One line of a function, before and after. ``function``: with its class, as in Resolved._inside."""

    file: str
    function: str
    was: str
    becomes: str


class Found(NamedTuple):
    """Of one file: how many changes were tried and noticed, and those that were not."""

    file: str
    tried: int
    noticed: int
    survivors: list[Change]


def main(argv: Sequence[str]) -> int:
    """0 where every survivor is explained, else 1."""
    parser = argparse.ArgumentParser(prog="nagtime.py mutants", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"default: {' '.join(TARGETS)}")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--docs", action="store_true", help="also write its part of docs/HEALTH.md")
    options = parser.parse_args(argv)
    if not hasattr(os, "fork"):
        print("nagtime mutants: mutmut needs fork, which this system lacks", file=sys.stderr)
        return 1
    if unknown := [name for name in options.files if name not in TARGETS]:
        print(f"nagtime mutants: {unknown[0]!r}; allowed: {', '.join(TARGETS)}", file=sys.stderr)
        return 1
    if options.docs and options.files:
        print("nagtime mutants: --docs is for all files", file=sys.stderr)
        return 1
    why = explained()
    results = []
    for file in options.files or TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            found = tried(Path(folder), file, options.processes)
        results.append(found)
        print(f"{file}: {found.noticed} of {found.tried} changes noticed ({100 * found.noticed / found.tried:.1f} %)")
        for change in found.survivors:
            print(
                f"  {change.function}\n  - {change.was}\n  + {change.becomes}\n  {why.get(change, 'NOT EXPLAINED')}\n"
            )
    open_ones = [change for found in results for change in found.survivors if change not in why]
    if open_ones:
        print(f"nagtime mutants: {len(open_ones)} survivors are not explained (above)", file=sys.stderr)
    if options.docs:
        from extras.studio.commands.health_page import write

        write("mutants", page(results, why))
    return 1 if open_ones else 0


def explained() -> dict[Change, str]:
    """Survivors that are known -> why no test can notice them."""
    entries = json.loads(EXPLAINED.read_text("utf-8"))
    return {Change(e["file"], e["function"], e["was"], e["becomes"]): e["why"] for e in entries}


def tried(folder: Path, file: str, processes: int) -> Found:
    """All changes of one file, in a copy of what its tests need. RuntimeError where mutmut does not get through."""
    tests = [name for name in TARGETS[file] if (ROOT / name).is_file()]
    ignored = shutil.ignore_patterns("__pycache__", "test_*.py", "user")
    shutil.copytree(ROOT / "extras" / "nag", folder / "extras" / "nag", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "nag", folder / "tests" / "nag", ignore=ignored)
    for name in tests:
        shutil.copy(ROOT / name, folder / name)
    (folder / "pyproject.toml").write_text(
        f'[tool.mutmut]\nsource_paths = ["{file}"]\nalso_copy = ["extras", "tests"]\n'
        f"pytest_add_cli_args_test_selection = {json.dumps(tests)}\n"
        'pytest_add_cli_args = ["-q", "-p", "no:cacheprovider"]\n[tool.pytest.ini_options]\npythonpath = ["."]\n'
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(processes)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    meta = folder / "mutants" / f"{file}.meta"
    codes = json.loads(meta.read_text("utf-8"))["exit_code_by_key"] if meta.is_file() else {}
    if not codes or None in codes.values():
        raise RuntimeError(f"mutmut did not get through {file}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    left = [name for name, code in codes.items() if code in _NOT_NOTICED]
    return Found(file, len(codes), len(codes) - len(left), [_change(folder, env, file, name) for name in left])


def _change(folder: Path, env: dict[str, str], file: str, name: str) -> Change:
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    was, becomes = (
        " ".join(line[1:].strip() for line in shown.stdout.splitlines() if re.match(rf"{sign}(?!{sign})", line))
        for sign in ("-", r"\+")
    )
    return Change(file, function_of(name), was, becomes)


def function_of(name: str) -> str:
    """mutmut's name of a change -> function, with its class."""
    bare = name.rpartition("__mutmut_")[0].rpartition(".")[2]
    return ".".join(bare.split("ǁ")[1:]) if "ǁ" in bare else bare.removeprefix("x_")


def page(results: Sequence[Found], why: dict[Change, str]) -> str:
    """The part of docs/HEALTH.md."""
    tried_all, noticed_all = sum(f.tried for f in results), sum(f.noticed for f in results)
    lines = [
        f"`python nagtime.py mutants`: of {tried_all} changes of one operator or value each, the tests notice "
        f"**{noticed_all} ({100 * noticed_all / tried_all:.1f} %)**.",
        "",
        "| file | changes | noticed | not noticed |",
        "|---|---|---|---|",
        *(
            f"| `{f.file}` | {f.tried} | {f.noticed} ({100 * f.noticed / f.tried:.1f} %) | {len(f.survivors)} |"
            for f in results
        ),
        "",
        *_reasons([change for found in results for change in found.survivors], why),
    ]
    return "\n".join(lines)


def _reasons(survivors: Sequence[Change], why: dict[Change, str]) -> Iterator[str]:
    for change in survivors:
        yield f"- `{change.function}`: `{change.was}` → `{change.becomes}`. {why.get(change, '**Not explained.**')}"
