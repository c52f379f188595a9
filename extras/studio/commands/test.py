"""`python nagtime.py test [pytest arguments]`: ruff, mypy on the library, then the tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from extras.studio.commands.environment import ROOT

CHECKS = (["ruff", "check", "."], ["mypy", "extras/nag"])


def main(argv: Sequence[str]) -> int:
    """0 when everything passed, 1 when a check failed, else pytest's own status (5: no test ran)."""
    failed = []
    for check in CHECKS:
        print("$", *check, flush=True)
        if subprocess.run([sys.executable, "-m", *check], cwd=ROOT).returncode:
            failed.append(check[0])
    print("$ pytest", *argv, flush=True)
    status = subprocess.run([sys.executable, "-m", "pytest", *(argv or ["-q"])], cwd=ROOT).returncode
    if failed:
        print(f"nagtime: {' and '.join(failed)} found something (above)", file=sys.stderr)
    return status or (1 if failed else 0)
