"""`python nagtime.py coverage`: which lines of the library's core its tests reach; fails below the limit.

The core is extras/nag without hosts/ and ui/. Not a part of `test`: tracing makes the tests slower.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extras.studio.commands.environment import ROOT

LEAST = 95.0
"""Per cent of the lines."""
CORE = "extras/nag"
NOT_CORE = ("extras/nag/hosts/*", "extras/nag/ui/*")
TESTS = ("tests/nag",)


def main(argv: Sequence[str]) -> int:
    """0 where the tests pass and reach enough, 1 where they do not reach enough, else pytest's status."""
    parser = argparse.ArgumentParser(prog="nagtime.py coverage", description=__doc__)
    parser.add_argument("tests", nargs="*", default=list(TESTS), help=f"default: {' '.join(TESTS)}")
    parser.add_argument("--least", type=float, default=LEAST, help=f"per cent, else it fails (default {LEAST:g})")
    parser.add_argument("--docs", action="store_true", help="also write its part of docs/HEALTH.md")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        status, found = measured(options.tests, Path(folder))
    if status:
        return status
    for line in table(found):
        print(line)
    share = found["totals"]["percent_covered"]
    print(f"{share:.2f} % of {found['totals']['num_statements']} lines; allowed: {options.least:g} % or more")
    if options.docs:
        from extras.studio.commands.health_page import write

        write("coverage", page(found, options.tests))
    return 0 if share >= options.least else 1


def measured(tests: Sequence[str], folder: Path) -> tuple[int, dict[str, Any]]:
    """(pytest's status, coverage's own report as JSON)."""
    settings = folder / "coveragerc"
    settings.write_text(f"[run]\nsource = {CORE}\nomit =\n" + "".join(f"    {each}\n" for each in NOT_CORE))
    env = {"OMP_NUM_THREADS": "1", **os.environ, "COVERAGE_FILE": str(folder / "data")}
    run = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q", *tests]
    print("$ pytest", *tests, flush=True)
    status = subprocess.run(run, cwd=ROOT, env=env).returncode
    if status:
        return status, {}
    report = folder / "report.json"
    done = [sys.executable, "-m", "coverage", "json", "-q", f"--rcfile={settings}", "-o", str(report)]
    subprocess.run(done, cwd=ROOT, env=env, check=True)
    return 0, json.loads(report.read_text("utf-8"))


def table(found: dict[str, Any]) -> list[str]:
    """A line for every file in which lines are not reached."""
    rows = []
    for name, file in sorted(found["files"].items()):
        if file["missing_lines"]:
            lines = ", ".join(map(str, file["missing_lines"]))
            rows.append(f"{name}: {file['summary']['percent_covered']:.1f} %, not reached: {lines}")
    return rows


def page(found: dict[str, Any], tests: Sequence[str]) -> str:
    """The part of docs/HEALTH.md."""
    totals = found["totals"]
    share = totals["percent_covered"]
    rows = [
        f"| `{name}` | {file['summary']['percent_covered']:.1f} % | {len(file['missing_lines'])} |"
        for name, file in sorted(found["files"].items())
        if file["missing_lines"]
    ]
    return "\n".join(
        [
            f"`python nagtime.py coverage`: **{share:.1f} %** of the {totals['num_statements']} lines of the "
            f"core (`{CORE}` without `hosts/` and `ui/`) are reached by the tests of `{' '.join(tests)}` alone. "
            f"The command fails below {LEAST:g} %.",
            "",
            "| file | reached | lines that are not |",
            "|---|---|---|",
            *rows,
            "",
            f"The other {len(found['files']) - len(rows)} files: all lines.",
        ]
    )
