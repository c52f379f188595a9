"""`python nagtime.py test [pytest arguments]`: ruff, mypy on the library, then the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from extras.studio.commands.environment import ROOT

CHECKS = (["ruff", "check", "."], ["mypy", "extras/nag"])
MOST = 4  # processes; each may start a Studio and a browser


def main(argv: Sequence[str]) -> int:
    """0 when everything passed, 1 when a check failed, else pytest's own status (5: no test ran)."""
    failed = []
    for check in CHECKS:
        print("$", *check, flush=True)
        if subprocess.run([sys.executable, "-m", *check], cwd=ROOT).returncode:
            failed.append(check[0])
    chosen = list(argv) or all_tests(os.cpu_count() or 1)
    print("$ pytest", *chosen, flush=True)
    # models as small as these gain nothing from threads, and lose much to each other's
    few = {"OMP_NUM_THREADS": "1", **os.environ}
    status = subprocess.run([sys.executable, "-m", "pytest", *chosen], cwd=ROOT, env=few).returncode
    if failed:
        print(f"nagtime: {' and '.join(failed)} found something (above)", file=sys.stderr)
    return status or (1 if failed else 0)


def all_tests(cores: int) -> list[str]:
    """A process per core, and every file of tests in one of them (what it has set up is its own)."""
    processes = min(cores, MOST)
    return ["-q", *(["-n", str(processes), "--dist", "loadfile"] if processes > 1 else [])]
