"""A plan's run: draw what is missing, measure what is missing. Killed at any point and started again, it goes on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from .cells import Expansion, expand, groups
from .engines import Engine
from .errors import LabError
from .measure import measure
from .plan import Plan
from .progress import Progress
from .store import DONE, Store

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Outcome:
    """What a run did. ``drawn``, ``failed``: pictures now; ``kept``: those that were there already; ``stopped``: it was
    asked to end before its time."""

    folder: Path
    cells: int
    places: int
    drawn: int = 0
    failed: int = 0
    kept: int = 0
    stopped: bool = False
    errors: list[str] = field(default_factory=list)

    def summary(self) -> str:
        text = f"{self.cells} pictures for {self.places} places in the plan: {self.drawn} drawn, {self.kept} kept"
        text += f", {self.failed} failed" if self.failed else ""
        return text + (" (stopped)" if self.stopped else "")


def run(
    plan: Plan,
    text: str,
    folder: Path,
    engine: Engine,
    *,
    metrics: bool = True,
    show: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = print,
    stop: Callable[[], bool] = lambda: False,
    between: Callable[[Store], None] = lambda store: None,
    command: str = "",
) -> Outcome:
    """Draw and measure a plan into ``folder``. ``text``: the plan's YAML, kept beside the results. ``stop``: asked
    between groups; ``between``: called after each. Raises LabError; what is done is kept."""
    versions = engine.versions()
    expansion = expand(plan, engine.checkpoint, versions)
    with Store.open(folder, say) as store:
        store.begin(expansion, _meta(plan, text, engine, versions, command))
        outcome = Outcome(folder, len(expansion.cells), len(expansion.places))
        _warn_of_other_code(store, say)
        _draw(store, expansion, engine, outcome, show, stop, between)
        if metrics and not outcome.stopped:
            measure(store, plan, show, say, stop)
    return outcome


def _draw(
    store: Store,
    expansion: Expansion,
    engine: Engine,
    outcome: Outcome,
    show: Callable[[Progress], None],
    stop: Callable[[], bool],
    between: Callable[[Store], None],
) -> None:
    states = store.states()
    missing = [cell for cell in expansion.cells.values() if states[cell.id] != DONE]
    outcome.kept = len(expansion.cells) - len(missing)
    if not missing:
        return
    progress = Progress("drawing", len(missing))
    show(progress)
    results = engine.draw(group for group in groups(missing) if not stop())
    for made in results:
        store.save(made, engine.name, time.strftime("%Y-%m-%dT%H:%M:%S"))
        bad = [r for r in made if r.error]
        outcome.errors = list(dict.fromkeys([*outcome.errors, *(r.error for r in bad if r.error)]))
        outcome.failed += len(bad)
        outcome.drawn += len(made) - len(bad)
        progress.add(len(made) - len(bad), len(bad))
        show(progress)
        between(store)
    outcome.stopped = outcome.drawn + outcome.failed < len(missing)


def _meta(plan: Plan, text: str, engine: Engine, versions: dict[str, str], command: str) -> dict[str, str]:
    return {
        "plan": text,
        "plan_json": plan.model_dump_json(),
        "versions": json.dumps(versions, sort_keys=True),
        "environment": json.dumps(environment(), sort_keys=True),
        "engine": engine.name,
        "command": command,
        "source": source_hash(),
    }


@lru_cache(maxsize=1)
def environment() -> dict[str, str]:
    """The machine and its packages, for the report."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "system": platform.platform(), "cores": str(os.cpu_count())}
    for name in ("torch", "diffusers", "transformers", "numpy", "pandas", "scipy", "scikit-image", "torchmetrics"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    commit = _commit()
    return {**found, **({"commit": commit} if commit else {})}


def _commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=10)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


@lru_cache(maxsize=1)
def source_hash() -> str:
    """Of the library's source: where it changes, so may the pictures."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "extras" / "nag").rglob("*.py")):
        if "ui" not in path.parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _warn_of_other_code(store: Store, say: Callable[[str], None]) -> None:
    """Pictures of an older version of the library are kept, and that is told."""
    now = store.meta("source")
    seen = json.loads(store.meta("sources", "[]"))
    if seen and now not in seen:
        say("Note: the library's code has changed since pictures in this folder were drawn; they are kept as they are.")
    if now not in seen:
        store.put_meta({"sources": json.dumps([*seen, now])})


def command_line() -> str:
    """What was typed, for the report."""
    return " ".join(["python", "nagtime.py", "lab", *sys.argv[2:]]) if len(sys.argv) > 1 else ""


__all__ = ["LabError", "Outcome", "run"]
