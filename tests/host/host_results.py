"""The suite's account: one JSON file per host, one entry per capability.

{"host", "version", "model", "results": [{"capability", "outcome", "date", "detail", "tests"}]}. Outcomes of a
capability: "works" (all its tests passed), "differs" (none failed, some did not apply: ``detail`` says why), "fails".
A later run replaces what it has run again; a run of another version of the host begins anew.
"""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"


class Results:
    """Collects while tests run. ``add`` per test, ``write`` at the end."""

    def __init__(self):
        self.tests: dict[str, dict[str, tuple[str, str]]] = {}  # capability -> test -> (outcome, detail)

    def add(self, capability: str, test: str, outcome: str, detail: str) -> None:
        """A test that fails in its teardown has failed."""
        known = self.tests.setdefault(capability, {})
        if test not in known or outcome == FAILED:
            known[test] = (outcome, detail)

    def entries(self, date: str) -> list[dict]:
        return [self._entry(name, tests, date) for name, tests in self.tests.items()]

    @staticmethod
    def _entry(capability: str, tests: dict[str, tuple[str, str]], date: str) -> dict:
        kinds = {outcome for outcome, _ in tests.values()}
        outcome = "fails" if FAILED in kinds else "differs" if SKIPPED in kinds else "works"
        worst = FAILED if FAILED in kinds else SKIPPED if SKIPPED in kinds else PASSED
        details = dict.fromkeys(detail for kind, detail in tests.values() if kind == worst and detail)
        plain = {name: kind for name, (kind, _) in tests.items()}
        detail = "; ".join(details)
        return {"capability": capability, "outcome": outcome, "date": date, "detail": detail, "tests": plain}

    def write(self, folder: Path, host: str, version: str, model: str) -> Path:
        """Merge into the host's file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / (re.sub(r"\W+", "-", f"{host} {model}".lower()).strip("-") + ".json")
        head = {"host": host, "version": version, "model": model}
        old = json.loads(file.read_text("utf-8")) if file.exists() else {}
        kept = old.get("results", []) if all(old.get(k) == v for k, v in head.items()) else []
        fresh = self.entries(datetime.date.today().isoformat())
        names = [entry["capability"] for entry in fresh]
        results = [e for e in kept if e["capability"] not in names] + fresh
        file.write_text(json.dumps({**head, "results": results}, indent=1, ensure_ascii=False) + "\n", "utf-8")
        return file
