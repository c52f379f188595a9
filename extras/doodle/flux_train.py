"""Training of the Flux doodle: a rectified flow on captions, then made straight between four stops for few steps.

1. Flow: transformer and both text encoders learn the velocity noise − clean at random sigma (arXiv 2209.03003). The
   pooled text is often left empty: what is in a picture shall come from the sequence, as in the large models, because
   only what goes through attention can be guided there.
2. Straight: the flow's own trajectories (16 steps, classifier-free guidance) are drawn once, and the states at sigma
   1, .75, .5, .25, 0 kept. Between two stops the transformer learns the one velocity that joins them, at every point
   of the line (piecewise rectified flow, arXiv 2405.07510). 4, 8, 12 … steps then give the same picture at CFG 1.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import captions, scenes
from .fit import Loss, fit
from .flux_model import FluxDoodle, euler

BATCH, FLOW_RATE, STRAIGHT_RATE = 48, 1.5e-3, 6e-4
EMPTY, POOLED_EMPTY = 0.10, 0.5
"""Shares of the captions left out altogether, and of those that only the sequence encoder sees."""
STOPS, TEACHER_STEPS, TEACHER_CFG = 4, 16, 2.5


def fresh(seed: int = 0) -> FluxDoodle:
    """An untrained model. Modulations and output start at zero, so that each block begins as the identity."""
    torch.manual_seed(seed)
    model = FluxDoodle(captions.words())
    for name, parameter in model.transformer.named_parameters():
        if ".linear." in name or name.startswith("proj_out"):
            torch.nn.init.zeros_(parameter)
    return model


def random_sigmas(count: int) -> Tensor:
    """Half uniform, half from the noisier half: what is in the picture is decided there."""
    sigma = torch.rand(count)
    return torch.where(torch.arange(count) % 2 == 0, sigma, 0.5 + 0.5 * sigma)


def train_flow(out: Path, model: FluxDoodle, latents: Tensor, content: list, minutes: float, say=print):
    """Stage 1. latents: float16 (N, 4, 16, 16), unit variance; content: their N scenes. Returns the averaged model."""

    def begin(step: int) -> Loss:
        torch.manual_seed(step)
        rng = random.Random(step)

        def loss() -> Tensor:
            picks = [rng.randrange(len(content)) for _ in range(BATCH)]
            texts = ["" if rng.random() < EMPTY else captions.caption(content[i], rng) for i in picks]
            pooled = ["" if rng.random() < POOLED_EMPTY else text for text in texts]
            clean, sigma = latents[picks].float(), random_sigmas(BATCH)
            noise, share = torch.randn_like(clean), sigma.view(-1, 1, 1, 1)
            with torch.autocast("cpu", torch.bfloat16):
                v = model((1 - share) * clean + share * noise, sigma, model.encode(texts, pooled))
            return (v.float() - (noise - clean)).square().mean()

        return loss

    return fit(out, model, begin, minutes, name="flow", key="model", peak=FLOW_RATE, average=0.999, say=say)


@torch.no_grad()
def draw_trajectories(model: FluxDoodle, folder: Path, count: int, minutes: float, seed: int = 3, say=print) -> int:
    """Append trajectories to `folder`, 64 a file, until `count` or `minutes`. Returns how many there are.

    A file holds "states" float16 (64, 5, 4, 16, 16), noise first, and "texts" uint8, the 64 captions as lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began, done = time.time(), len(list(folder.glob("*.safetensors")))
    empty = model.encode([""])
    while done * 64 < count and (not done or time.time() - began < minutes * 60):  # one at least
        rng = random.Random(seed * 100_003 + done)
        generator = torch.Generator().manual_seed(seed * 100_003 + done)
        texts = [captions.caption(scenes.random_scene(rng), rng) for _ in range(64)]
        noise = torch.randn(64, 4, 16, 16, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            states = euler(model, noise, model.encode(texts), TEACHER_STEPS, TEACHER_CFG, empty)
        kept = torch.stack(states[:: TEACHER_STEPS // STOPS], 1).half()
        lines = torch.tensor(list("\n".join(texts).encode()), dtype=torch.uint8)
        save_file({"states": kept, "texts": lines}, str(folder / f"{done:05d}.safetensors"))
        done += 1
        if done % 5 == 0:
            say(f"trajectories {done * 64} {(time.time() - began) / 60:.1f} min", flush=True)
    return done * 64


def straight_batch(states: Tensor, picks: list[int], draw: Callable[[int], Tensor] = torch.rand):
    """Points between two stops: x (n, 4, 16, 16), sigma (n,), the velocity that joins the stops (n, 4, 16, 16)."""
    stop = torch.arange(len(picks)) % STOPS
    before, after = states[picks, stop].float(), states[picks, stop + 1].float()
    along = draw(len(picks))
    x = torch.lerp(before, after, along.view(-1, 1, 1, 1))
    return x, 1 - (stop + along) / STOPS, (before - after) * STOPS


def train_straight(out: Path, model: FluxDoodle, folder: Path, minutes: float, say=print):
    """Stage 2: the transformer of the averaged flow learns the trajectories; the encoders stay. Returns the average."""
    files = [load_file(str(file)) for file in sorted(folder.glob("*.safetensors"))]
    states = torch.cat([file["states"] for file in files])
    texts = [line for file in files for line in bytes(file["texts"].tolist()).decode().split("\n")]
    model.requires_grad_(False)
    model.transformer.requires_grad_(True)

    def begin(step: int) -> Loss:
        torch.manual_seed(step)
        rng = random.Random(step)

        def loss() -> Tensor:
            picks = [rng.randrange(len(texts)) for _ in range(BATCH)]
            own = [texts[i] for i in picks]
            pooled = ["" if rng.random() < POOLED_EMPTY else text for text in own]
            x, sigma, target = straight_batch(states, picks)
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    text = model.encode(own, pooled)
                v = model(x, sigma, text)
            return (v.float() - target).square().mean()

        return loss

    parameters = list(model.transformer.parameters())
    return fit(
        out, model, begin, minutes, name="straight", key="model", peak=STRAIGHT_RATE, average=0.998,
        parameters=parameters, say=say,
    )  # fmt: skip
