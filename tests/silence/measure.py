"""`python tests/silence/measure.py [--only NAME ...]`: how many tests notice when a system does nothing.

For each silence its tests are run with it in place; the counts go into docs/SYSTEMS.md. Exit status 1 where one goes
unnoticed, or where a test fails although nothing is silenced.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from silences import SILENCES  # noqa: E402

PAGE = ROOT / "docs" / "SYSTEMS.md"
PART = re.compile(r"(<!-- silenced: [^\n]*-->\n).*?(<!-- /silenced -->)", re.DOTALL)
Results = dict[tuple[str, str], bool]


def results(tests: list[str], silence: str | None) -> Results:
    """(class or file, test) -> passed. Skipped tests are left out. RuntimeError where the tests could not be run."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        plugin = [] if silence is None else ["-p", "silenced"]
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, f"--junitxml={report}", *tests]
        variables = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}", "SILENCED": silence or ""}
        done = subprocess.run([sys.executable, *command], cwd=ROOT, env=variables, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError(f"{silence}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = [case for case in ElementTree.parse(report).iter("testcase") if case.find("skipped") is None]
        passed = [all(case.find(what) is None for what in ("failure", "error")) for case in cases]
        names = [(case.get("classname", ""), case.get("name", "")) for case in cases]
        return dict(zip(names, passed, strict=True))


def row(silence, plain: Results) -> tuple[str, int]:
    """(a row of the table, tests that noticed)."""
    found = results(list(silence.tests), silence.name)
    known = [test for test, passed in found.items() if plain.get(test)]
    noticed = [test for test in known if not found[test]]
    paths = dict.fromkeys(name.partition("::")[0] for name in silence.tests)
    names = ", ".join(f"`{path.removeprefix('tests/').removesuffix('.py')}`" for path in paths)
    line = f"| {silence.name} | {silence.does} | `{silence.where.partition(':')[2]}` | {len(noticed)} of {len(known)} |"
    return f"{line} {names} |", len(noticed)


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the table."""
    names = [silence.name for silence in SILENCES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="print these rows, write nothing")
    only = parser.parse_args(argv).only
    wanted = [silence for silence in SILENCES if not only or silence.name in only]
    plain = results(sorted({path for silence in wanted for path in silence.tests}), None)
    broken = [test for test, passed in plain.items() if not passed]
    print(f"nothing silenced: {len(plain)} tests, {len(broken)} fail {broken[:3] or ''}", flush=True)
    lines, unnoticed = [], []
    for silence in wanted:
        line, noticed = row(silence, plain)
        lines.append(line)
        unnoticed += [] if noticed else [silence.name]
        print(line, flush=True)
    if not only:
        head = [
            "| silenced | what happens instead | where | tests that fail | looked in (`tests/`) |",
            "|---" * 5 + "|",
        ]
        text = PAGE.read_text("utf-8")
        PAGE.write_text(PART.sub(lambda m: m[1] + "\n".join([*head, *lines]) + "\n" + m[2], text), "utf-8")
    print(f"unnoticed: {', '.join(unnoticed) or 'none'}")
    return 1 if unnoticed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
