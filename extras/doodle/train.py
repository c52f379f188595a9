"""`nagtime.py train-tiny`: all stages, one after the other, each resumable, then the two checkpoints and their card.

Times are minutes of training on two CPU cores; `--speed 0.5` halves them. A killed training goes on where its
newest state
was (every few minutes one is written); a finished stage is not run again.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from . import MODELS, arch, latents, scenes, train_base, train_student, train_vae
from .export import write_checkpoint
from .state import load_state
from .text import CompactText

MINUTES = {"vae": 13.0, "refine": 15.0, "base": 52.0, "trajectories": 12.0, "student": 20.0}
SCENES, TRAJECTORIES = 8000, 6000


class Training:
    """The stages and the folder their states lie in."""

    def __init__(self, state: Path, speed: float = 1.0, scenes_count: int = SCENES, say=print):
        self.state, self.speed, self.count, self.say = state, speed, scenes_count, say
        state.mkdir(parents=True, exist_ok=True)

    def minutes(self, stage: str) -> float:
        """Budget of a stage."""
        return MINUTES[stage] * self.speed

    def vae(self) -> None:
        """Stage 1, and the decoder's refinement."""
        train_vae.train(self.state / "vae.safetensors", self.minutes("vae"), say=self.say)
        train_vae.refine(
            self.state / "refine.safetensors", self.state / "vae.safetensors", self.minutes("refine"), say=self.say
        )

    def whitened(self) -> torch.nn.Module:
        """The autoencoder as the checkpoints carry it."""
        refined = self.state / "refine.safetensors"
        return latents.whitened_vae(refined if refined.exists() else self.state / "vae.safetensors")

    def base(self) -> None:
        """Stage 2."""
        path = self.state / "latents.safetensors"
        if not path.exists():
            z, _ = latents.encode_scenes(self.whitened(), self.count, seed=1, say=self.say)
            save_file({"z": z}, str(path))
        z = load_file(str(path))["z"]
        rng = random.Random(1)
        content = [scenes.random_scene(rng) for _ in range(len(z))]
        train_base.train(self.state / "base.safetensors", z, content, self.minutes("base"), say=self.say)

    def base_models(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        """Text encoder and UNet of the base, averaged weights."""
        both = torch.nn.ModuleDict({"text": CompactText(), "unet": arch.build_unet()})
        load_state(self.state / "base.safetensors", {"ema": both})
        both.eval().requires_grad_(False)
        return both["text"], both["unet"]

    def student(self) -> None:
        """Stage 3: trajectories, then the distillation."""
        text, unet = self.base_models()
        folder = self.state / "trajectories"
        train_student.draw_trajectories(
            unet, text, folder, TRAJECTORIES, self.minutes("trajectories"), seed=3, say=self.say
        )
        train_student.train(
            self.state / "student.safetensors", folder, unet, text, self.minutes("student"), say=self.say
        )

    def export(self, out: Path) -> list[Path]:
        """Write the checkpoints that the states allow: base, and student when it exists."""
        text, unet = self.base_models()
        vae, written = self.whitened(), [out / "doodle-base.safetensors"]
        encoder = text.expand()
        write_checkpoint(written[0], encoder, unet, vae, "Doodle base")
        if (self.state / "student.safetensors").exists():
            load_state(self.state / "student.safetensors", {"ema": unet})
            written.append(out / "doodle-student.safetensors")
            write_checkpoint(written[1], encoder, unet, vae, "Doodle student, 4 steps, CFG 1")
        return written


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="nagtime.py train-tiny", description=__doc__)
    parser.add_argument("--out", type=Path, default=MODELS, help="where the checkpoints go (default: models/)")
    parser.add_argument("--state", type=Path, default=None, help="where training state lies (default: OUT/.training)")
    parser.add_argument("--speed", type=float, default=1.0, help="multiplies every stage's minutes (0.01 to 10)")
    parser.add_argument("--scenes", type=int, default=SCENES, help="scenes to draw for the base model (64 or more)")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: all cores)")
    parser.add_argument("--flux", action="store_true", help="the Flux doodle alone, over OUT's base autoencoder")
    parser.add_argument(
        "--lora",
        action="store_true",
        help="train nothing: make the student's LoRA of OUT's two checkpoints, measure it",
    )
    parser.add_argument(
        "--measure", action="store_true", help="train nothing: measure OUT's checkpoints, write MODEL_CARD.md"
    )
    options = parser.parse_args(argv)
    if options.measure and options.flux:
        from .flux_card import write as write_flux

        print(write_flux(options.out))
        return 0
    if options.lora:
        from .lora_card import write as write_lora

        print(write_lora(options.out))
        return 0
    if options.measure:
        from .card import write

        print(write(options.out))
        return 0
    if not 0.0001 <= options.speed <= 10:
        parser.error(f"--speed: {options.speed:g} is not possible, allowed: 0.0001 to 10")
    if options.scenes < 64:
        parser.error(f"--scenes: {options.scenes} is not possible, allowed: 64 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    began = time.time()
    if options.flux:
        from .flux_stages import run

        path = run(options.out, options.state or options.out / ".training" / "flux", options.speed, options.scenes)
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB, {(time.time() - began) / 60:.1f} minutes")
        return 0
    training = Training(options.state or options.out / ".training", options.speed, options.scenes)
    training.vae()
    training.base()
    training.student()
    for path in training.export(options.out):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    print(f"done in {(time.time() - began) / 60:.1f} minutes")
    return 0
