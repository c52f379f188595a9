"""Stage 2: the base model. Text encoder and UNet learn together, v-prediction, captions drawn anew for every sample."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from . import arch, captions, tokenizer
from .fit import Loss, fit
from .text import CompactText

BATCH, PEAK_RATE, DROPOUT = 32, 1e-3, 0.10


class Noise:
    """The forward process: alphas and sigmas per timestep as float32 columns."""

    def __init__(self):
        power = arch.alphas_cumprod()
        self.alpha, self.sigma = power.sqrt().float(), (1 - power).sqrt().float()

    def at(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """alpha, sigma at integer timesteps (B,), shaped (B, 1, 1, 1)."""
        return self.alpha[t].view(-1, 1, 1, 1), self.sigma[t].view(-1, 1, 1, 1)


def random_timesteps(batch: int) -> torch.Tensor:
    """Half uniform, half from the noisier half: what is in the picture is decided there."""
    low = torch.randint(0, arch.TRAIN_STEPS, (batch,))
    high = torch.randint(arch.TRAIN_STEPS // 2, arch.TRAIN_STEPS, (batch,))
    return torch.where(torch.arange(batch) % 2 == 0, low, high)


def train(out: Path, latents: torch.Tensor, content: list, minutes: float, seed: int = 0, say=print) -> None:
    """Train for `minutes` in all (`fit.clock`; resumed runs add up); state in `out`.

    latents: float16 (N, 4, 16, 16) as `latents.encode_scenes` gives; content: their N scenes.
    """
    torch.manual_seed(seed)
    both, noise = torch.nn.ModuleDict({"text": CompactText(), "unet": arch.build_unet()}), Noise()

    def begin(step: int) -> Loss:
        rng = random.Random(seed + step)
        torch.manual_seed(seed + step)

        def loss() -> torch.Tensor:
            picks = [rng.randrange(len(content)) for _ in range(BATCH)]
            texts = ["" if rng.random() < DROPOUT else captions.caption(content[i], rng) for i in picks]
            x0 = latents[picks].float()
            t = random_timesteps(BATCH)
            alpha, sigma = noise.at(t)
            eps = torch.randn_like(x0)
            with torch.autocast("cpu", torch.bfloat16):
                v = both["unet"](alpha * x0 + sigma * eps, t, both["text"](tokenizer.encode(texts))).sample
            return (v.float() - (alpha * eps - sigma * x0)).square().mean()

        return loss

    fit(out, both, begin, minutes, name="base", key="model", peak=PEAK_RATE, average=0.999, say=say)
