"""An engine whose pictures are noise of their address, a plan for it, and a run of it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from PIL import Image

from extras.lab import plan, runner
from extras.lab.cells import Checkpoint
from extras.lab.engines import Result

ROOT = Path(__file__).resolve().parents[2]
PLAN = """
name: fake
models:
  few: {checkpoint: some-model, steps: 4, sampler: Euler, scheduler: SGM Uniform, width: 64, height: 64, batch: 2}
pairs:
  - {id: nerd, prompt: a nerd, target: glasses, subject: nerd}
  - {id: king, prompt: a king, target: crown, subject: king}
seeds: {first: 100, count: 5}
arms:
  - name: NAG
    role: nag
    nag: {alpha: 0.65}
    sweep: {scale: [4, 8]}
  - name: NAG Time
    role: nag-time
    nag: {scale: 8, alpha: 0.65}
    sweep: {window: [[0.17, 0.5], [0.2, 0.51]]}
"""


class Fake:
    """``pause``: seconds a group takes; ``fails``: seeds that cannot be drawn."""

    name = "fake"

    def __init__(self, pause: float = 0.0, fails: tuple[int, ...] = ()):
        self.pause, self.fails, self.drawn = pause, fails, 0

    def versions(self):
        return {"engine": "fake"}

    def checkpoint(self, name):
        return Checkpoint(name, "0" * 64)

    def draw(self, groups):
        for group in groups:
            yield self.draw_group(group)

    def draw_group(self, group):
        time.sleep(self.pause)
        self.drawn += len(group)
        return [self._one(cell) for cell in group]

    def _one(self, cell):
        if cell.spec["seed"] in self.fails:
            return Result(cell, error=f"seed {cell.spec['seed']} is not to be had")
        noise = np.random.default_rng(int(cell.id, 16)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return Result(
            cell, Image.fromarray(noise), f"{cell.spec['prompt']}\nSeed: {cell.spec['seed']}", self.pause, None
        )

    def close(self):
        pass


def run(folder, engine=None, text=PLAN, **how):
    """Run the plan of ``text`` into ``folder``."""
    path = Path(folder).with_suffix(".yaml")
    path.write_text(text, encoding="utf-8")
    how = {"metrics": False, "say": lambda told: None, **how}
    return runner.run(plan.load(path), text, Path(folder), engine or Fake(), **how)
