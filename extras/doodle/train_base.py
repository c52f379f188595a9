"""Stage 2: the base model. Text encoder and UNet learn together, v-prediction, captions drawn anew for every sample."""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch

from . import arch, captions, tokenizer
from .state import Ema, load_state, rate, save_state
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
    """Train for `minutes` of this machine's time in all (resumed runs add up); state in `out`.

    latents: float16 (N, 4, 16, 16) as `latents.encode_scenes` gives; content: their N scenes.
    """
    torch.manual_seed(seed)
    text, unet, noise = CompactText(), arch.build_unet(), Noise()
    parameters = [*text.parameters(), *unet.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    both = torch.nn.ModuleDict({"text": text, "unet": unet})
    ema = Ema(both, 0.999)
    step, spent = 0, 0.0
    if out.exists():
        meta = load_state(out, {"model": both, "ema": ema.module}, optimizer)
        step, spent = meta["step"], meta["minutes"]
    rng = random.Random(seed + step)
    torch.manual_seed(seed + step)
    began, mean = time.time(), 0.0
    while True:
        now = spent + (time.time() - began) / 60
        if now >= minutes:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate(now / minutes, PEAK_RATE)
        picks = [rng.randrange(len(content)) for _ in range(BATCH)]
        texts = ["" if rng.random() < DROPOUT else captions.caption(content[i], rng) for i in picks]
        x0 = latents[picks].float()
        t = random_timesteps(BATCH)
        alpha, sigma = noise.at(t)
        eps = torch.randn_like(x0)
        with torch.autocast("cpu", torch.bfloat16):
            v = unet(alpha * x0 + sigma * eps, t, text(tokenizer.encode(texts))).sample
        loss = (v.float() - (alpha * eps - sigma * x0)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        ema.update(both, step)
        step += 1
        mean = loss.item() if mean == 0 else 0.99 * mean + 0.01 * loss.item()
        if step % 50 == 0:
            say(f"base step {step} loss {mean:.4f} {now:.1f} min", flush=True)
        if step % 200 == 0:
            save_state(out, {"model": both, "ema": ema.module}, optimizer, {"step": step, "minutes": now})
    save_state(out, {"model": both, "ema": ema.module}, optimizer, {"step": step, "minutes": now})
