"""Stage 3: the four-step student, distilled from the base model.

The teacher (base, DDIM, classifier-free guidance) draws whole trajectories once. On the student's grid 999, 749,
499, 249 each
segment is one regression: the v that carries a DDIM step from the trajectory's state at t exactly onto its state at the
next t (progressive distillation, arXiv 2202.00512, in one stage). Guidance is baked in, so the student runs at CFG 1.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from . import captions, scenes, tokenizer
from .fit import Loss, fit
from .sampling import STUDENT_TIMES, alpha_sigma, ddim, grid

TEACHER_STEPS, TEACHER_CFG = 12, 2.0
BATCH, PEAK_RATE = 32, 6e-4


def prompt(rng: random.Random) -> str:
    """A caption of a random scene: what the student must answer to."""
    return captions.caption(scenes.random_scene(rng), rng)


@torch.no_grad()
def draw_trajectories(
    unet: torch.nn.Module, text: torch.nn.Module, out: Path, count: int, minutes: float, seed: int, say=print
) -> int:
    """Append teacher trajectories to the folder `out`, 64 a file, until `count` or `minutes`. Returns how many
    there are.

    A file holds "states" float16 (64, 5, 4, 16, 16): x at 999, 749, 499, 249 and clean; "ids" int32 (64, 77).
    """
    out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    done = len(list(out.glob("*.safetensors")))
    empty = text(tokenizer.encode([""]))
    times = grid(TEACHER_STEPS)
    nearest = [min(times, key=lambda t: abs(t - s)) for s in STUDENT_TIMES]
    while done * 64 < count and time.time() - began < minutes * 60:
        rng = random.Random(seed * 100_003 + done)
        generator = torch.Generator().manual_seed(seed * 100_003 + done)
        ids = tokenizer.encode([prompt(rng) for _ in range(64)])
        x = torch.randn(64, 4, 16, 16, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            clean, kept = ddim(unet, x, text(ids), times, TEACHER_CFG, empty.expand(64, -1, -1), keep=nearest)
        states = torch.stack([*(kept[t] for t in nearest), clean], 1)
        save_file({"states": states.half(), "ids": ids.int()}, str(out / f"{done:05d}.safetensors"))
        done += 1
        if done % 5 == 0:
            say(f"trajectories {done * 64} {(time.time() - began) / 60:.1f} min", flush=True)
    return done * 64


def target_v(x: torch.Tensor, x_next: torch.Tensor, t: int, t_next: int) -> torch.Tensor:
    """The v at (x, t) whose DDIM step to t_next lands on x_next."""
    alpha, sigma = alpha_sigma(t)
    alpha_n, sigma_n = alpha_sigma(t_next)
    # x_next = alpha_n (alpha x − sigma v) + sigma_n (sigma x + alpha v), solved for v
    return (x_next - (alpha_n * alpha + sigma_n * sigma) * x) / (sigma_n * alpha - alpha_n * sigma)


def train(
    state: Path, folder: Path, unet: torch.nn.Module, text: torch.nn.Module, minutes: float, seed: int = 0, say=print
) -> None:
    """Train `unet` (the base's weights at first) on the trajectories in `folder`; the text encoder stays. State
    in `state`."""
    files = [load_file(str(f)) for f in sorted(folder.glob("*.safetensors"))]
    states, ids = torch.cat([f["states"] for f in files]), torch.cat([f["ids"] for f in files]).long()
    unet.train().requires_grad_(True)
    times = [*STUDENT_TIMES, -1]

    def begin(step: int) -> Loss:
        rng = random.Random(seed + step)

        def loss() -> torch.Tensor:
            picks = [rng.randrange(len(states)) for _ in range(BATCH)]
            pairs = [(p, i % 4) for i, p in enumerate(picks)]
            x = torch.stack([states[p, s] for p, s in pairs]).float()
            target = torch.stack(
                [target_v(states[p, s].float(), states[p, s + 1].float(), times[s], times[s + 1]) for p, s in pairs]
            )
            t = torch.tensor([times[s] for _, s in pairs])
            with torch.no_grad():
                context = text(ids[picks])
            with torch.autocast("cpu", torch.bfloat16):
                v = unet(x, t, context).sample.float()
            return (v - target).square().mean()

        return loss

    fit(state, unet, begin, minutes, name="student", key="unet", peak=PEAK_RATE, average=0.998, say=say)
