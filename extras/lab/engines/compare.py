"""The engines side by side: one plan drawn by each, one after the other. How fast, and are the pictures the same?"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import runner
from ..plan import Plan
from ..progress import Progress
from ..store import Store

PLAN = Path(__file__).with_name("small.yaml")


@dataclass
class Timed:
    """An engine's run. ``start_s``: until its first pictures; ``a_minute``: pictures after those, a minute; of
    ``pictures``, ``same``: with the pixels of the first engine's, ``files``: with its very bytes; ``worst``: the
    largest difference from it, of 255; ``killed``: workers that were killed meanwhile."""

    engine: str
    pictures: int
    failed: int
    start_s: float
    total_s: float
    a_minute: float
    same: int = 0
    files: int = 0
    worst: int = 0
    killed: int = 0


def compare(plan: Plan, text: str, out: Path, engines: Sequence[tuple[str, Any]], kills: int = 0) -> list[Timed]:
    """Draw ``plan`` into a new folder of ``out`` with each (name, maker of an engine); ``kills``: so many workers of
    Ray are killed meanwhile. Writes engines.json."""
    found = []
    folders: list[Path] = []
    for name, make in engines:
        folder = out / name
        engine = make()
        killer = _Killer(engine, kills) if kills and hasattr(engine, "actors") else None
        marks: list[tuple[float, int]] = []
        began = time.perf_counter()
        try:
            outcome = runner.run(
                plan, text, folder, engine, metrics=False, say=lambda told: None, show=_watch(marks, killer)
            )
        finally:
            engine.close()
        total = time.perf_counter() - began
        (first, some), (last, all_) = marks[0], marks[-1]
        rate = 60 * (all_ - some) / (last - first) if last > first else 0.0
        timed = Timed(name, outcome.drawn, outcome.failed, first - began, total, rate)
        timed.killed = killer.done if killer else 0
        folders.append(folder)
        timed.same, timed.worst = _same(folders[0], folder)
        timed.files = _equal_files(folders[0], folder)
        found.append(timed)
    (out / "engines.json").write_text(json.dumps([asdict(each) for each in found], indent=1), encoding="utf-8")
    return found


def _watch(marks: list[tuple[float, int]], killer: _Killer | None) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        count = progress.done + progress.failed
        if count:
            marks.append((time.perf_counter(), count))
        if killer is not None:
            killer.see(count / max(progress.total, 1))

    return show


class _Killer:
    """Kills workers in the middle of what they do, at moments spread over the run."""

    def __init__(self, engine: Any, kills: int):
        self.engine, self.done, self._chance = engine, 0, random.Random(1)
        self._moments = sorted(self._chance.uniform(0.05, 0.8) for _ in range(kills))
        self._thread: threading.Thread | None = None

    def see(self, share: float) -> None:
        """The run has come so far."""
        free = self._thread is None or not self._thread.is_alive()
        if free and self.done < len(self._moments) and share >= self._moments[self.done]:
            self._thread = threading.Thread(target=self._kill, daemon=True)
            self._thread.start()

    def _kill(self) -> None:
        import ray

        try:  # a worker answers between two pictures, and has the next in hand a moment later
            pid = ray.get(self._chance.choice(self.engine.actors).pid.remote())
            time.sleep(self._chance.uniform(0.1, 0.6))
            os.kill(pid, signal.SIGKILL)
        except (ray.exceptions.RayActorError, ProcessLookupError):
            return  # the one before has hit this worker: another is taken at the next look
        self.done += 1


def _same(first: Path, other: Path) -> tuple[int, int]:
    """(pictures whose pixels are equal, largest difference), by their place in the plan."""
    pixels = []
    for folder in (first, other):
        with Store.read(folder) as store:
            rows = store.frame().drop_duplicates("cell").to_dict("records")
            keys = ("model", "pair", "seed", "arm")
            pixels.append({tuple(r[k] for k in keys): np.asarray(store.picture(r["cell"])).astype(int) for r in rows})
    shared = pixels[0].keys() & pixels[1].keys()
    differences = [int(abs(pixels[0][key] - pixels[1][key]).max()) for key in shared]
    return sum(d == 0 for d in differences), max(differences, default=0)


def _equal_files(first: Path, other: Path) -> int:
    mine = {path.name: path.read_bytes() for path in (first / "images").iterdir()}
    return sum(mine.get(path.name) == path.read_bytes() for path in (other / "images").iterdir())


def table(found: Sequence[Timed]) -> str:
    """For the terminal and for Markdown."""
    head = "engine, pictures, first after, a minute then, in all, pixels as the first's, files as the first's, killed"
    rows = [head.split(", "), ["---"] * 8]
    for t in found:
        count = f"{t.pictures}, {t.failed} failed" if t.failed else str(t.pictures)
        same = f"{t.same} of {t.pictures}" + (f", off by {t.worst} of 255" if t.worst else "")
        times = [f"{t.start_s:.1f} s", f"{t.a_minute:.0f}", f"{t.total_s:.1f} s"]
        rows.append([t.engine, count, *times, same, str(t.files), str(t.killed)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
