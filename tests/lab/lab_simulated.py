"""A run as the lab stores it, drawn by a pencil instead of a model: scenes whose object goes away at known rates."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from extras.doodle import scenes
from extras.lab import plan, runner
from extras.lab.cells import Cell, Checkpoint
from extras.lab.engines import Result

PLAN = """
name: simulated
title: A simulated run <b>&amp; its report</b>
models:
  student: {checkpoint: pencil, steps: 4, cfg: 1, sampler: Euler, scheduler: SGM Uniform, width: 128, height: 128}
pairs:
  - {id: nerd, prompt: "a nerd <script>alert(1)</script>", target: glasses, subject: nerd}
  - {id: gentleman, prompt: a gentleman, target: hat, subject: gentleman}
  - {id: king, prompt: a king, target: crown, subject: king}
  - {id: wizard, prompt: a wizard, target: beard, subject: wizard}
  - {id: clown, prompt: a clown, target: nose, subject: clown}
  - {id: garden, prompt: a garden, target: flowers, subject: garden}
seeds: {first: 1, count: 3}
metrics: [present, deleted, subject_kept, clean, clipscore, ssim, lpips, ssim_background, fid, kid, diversity]
arms:
  - {name: CFG negative, role: cfg, cfg_negative: target, cfg: 2}
  - {name: Hand-off, role: handoff, cfg_negative: target, handoff: {model: student, steps: 1, cfg: 4}}
  - name: NAG
    role: nag
    nag: {tau: 2.5, alpha: 0.65}
    sweep: {scale: [2, 8]}
  - name: NAG Time
    role: nag-time
    nag: {tau: 2.5, alpha: 0.65}
    sweep: {window: [[0, 0.5], [0.5, 1]], scale: [2, 8]}
margin: {deleted: 0.2}
hypotheses:
  - {id: H1, question: "Does the hand-off help?", treatment: handoff, control: cfg, outcome: deleted}
  - {id: H2, question: "Does NAG help?", treatment: NAG scale 8, control: cfg, outcome: deleted, preservation: ssim_background}
  - {id: H3, question: "Is NAG Time not inferior?", treatment: "NAG Time 0-0.5, scale 8", control: NAG scale 8,
     outcome: deleted, test: non-inferiority, preservation: ssim_background}
  - {id: windows, question: "Which window?", treatment: nag-time, control: NAG, outcome: deleted, test: frontier,
     preservation: ssim_background}
  - {id: none, question: "Nobody knows?", treatment: handoff, control: cfg, outcome: lsr}
"""  # noqa: E501


class Pencil:
    """Engine: the stronger the guidance, the likelier the object is gone, and the noisier the picture."""

    name = "pencil"

    def versions(self) -> dict[str, str]:
        return {"pencil": "1"}

    def checkpoint(self, name: str) -> Checkpoint:
        return Checkpoint(name, "0" * 64)

    def draw(self, groups: Iterable[list[Cell]]) -> Iterator[list[Result]]:
        for group in groups:
            yield [self._one(cell) for cell in group]

    def close(self) -> None:
        pass

    def _one(self, cell: Cell) -> Result:
        spec = cell.spec
        rng = random.Random(hashlib.sha256(cell.id.encode()).hexdigest())
        nag = spec.get("nag") or {}
        strength = sum(nag.get("strength") or []) * nag.get("scale", 0) / 32
        early = bool(nag.get("strength")) and nag["strength"][0] > 0
        chance = min(1.0, 3 * strength) if "strength" in nag else 0.3 if nag else 0.1 if spec["cfg"] > 1 else 0.0
        word, target = spec["subject"], spec["target"]
        objects = {target} if rng.random() >= chance and spec["seed"] != 3 else set()
        kind = "landscape" if word == "garden" else "portrait"
        scene = scenes.Scene(kind, word, objects, "pink", "garden" if kind == "landscape" else "", seed=spec["seed"])
        pixels = scenes.draw(scene).astype(float)
        noise = np.random.default_rng(spec["seed"]).normal(0, 1, pixels.shape)
        pixels = np.clip(pixels + noise * (strength + 0.02 * bool(nag)) * (30 if early else 15), 0, 255)
        return Result(cell, Image.fromarray(pixels.astype(np.uint8)), "infotext", 0.1 + 0.05 * bool(nag), None)


def simulated(folder: Path) -> Path:
    """Draw, measure and store the plan in `folder`."""
    file = folder.parent / "simulated.yaml"
    file.write_text(PLAN, encoding="utf-8")
    command = "python nagtime.py lab run simulated.yaml"
    outcome = runner.run(plan.load(file), PLAN, folder, Pencil(), say=lambda text: None, command=command)
    assert not outcome.errors, outcome.errors
    return folder
