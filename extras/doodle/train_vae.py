"""Stage 1: the autoencoder. Encoder and decoder together first; then the encoder is frozen and the decoder refined.

Trained on 64-pixel crops (a convolution does not care), without the attention block (see `arch.build_vae`). The latent
posterior has a fixed standard deviation, which keeps the latent space smooth for the diffusion model.
"""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import arch, scenes
from .state import Ema, load_state, save_state

CROP, BATCH = 64, 8
POSTERIOR_STD, KL_WEIGHT = 0.1, 2e-4


def crops(pictures: np.ndarray, rng: np.random.Generator, batch: int = BATCH) -> torch.Tensor:
    """Random crops with something in them. pictures uint8 (N, 128, 128, 3) -> float (batch, 3, CROP, CROP) in −1…1.

    Three candidates are drawn per crop and the busiest kept: most of a flat scene teaches nothing.
    """
    out = np.empty((batch, CROP, CROP, 3), np.uint8)
    for i in range(batch):
        best = -1.0
        for _ in range(3):
            n, y, x = rng.integers(len(pictures)), rng.integers(scenes.SIZE - CROP + 1), rng.integers(scenes.SIZE - CROP + 1)
            crop = pictures[n, y : y + CROP, x : x + CROP]
            busy = float(np.abs(np.diff(crop[::4, ::4].astype(np.int16), axis=0)).mean())
            if busy > best:
                best, out[i] = busy, crop
        if rng.random() < 0.5:
            out[i] = out[i][:, ::-1]
    return torch.from_numpy(out).permute(0, 3, 1, 2).float() / 127.5 - 1


def loss_of(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 for crisp edges, MSE because PSNR counts."""
    error = decoded.float() - target
    return error.abs().mean() + 2 * error.square().mean()


def learning_rate(step: int, total: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a cosine to 2 % of the peak."""
    if step < 100:
        return peak * (step + 1) / 100
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))))


def train(out: Path, steps: int, minutes: float, decoder_only: bool = False, seed: int = 0, say=print) -> None:
    """Train until `steps` or `minutes`; resumes from `out` when it exists.

    out: state file ("vae.safetensors"). decoder_only: freeze the encoder of `out`'s sibling "vae.safetensors".
    """
    torch.manual_seed(seed)
    vae = arch.build_vae(attention=False)
    decoder_parts = [vae.decoder, vae.post_quant_conv]
    parameters = list(vae.parameters())
    if decoder_only:
        load_state(out.parent / "vae.safetensors", {"vae": vae})
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
        parameters = [p for part in decoder_parts for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    ema = Ema(vae, 0.995)
    step = 0
    if out.exists() and not (decoder_only and out.name == "vae.safetensors"):
        step = load_state(out, {"vae": vae, "ema": ema.module}, optimizer)["step"]
    rng = np.random.default_rng(seed + step)
    picks = random.Random(seed + 1 + step)
    pictures = np.stack([scenes.draw(scenes.random_scene(picks)) for _ in range(8000)])
    began, mean, peak = time.time(), 0.0, 6e-4 if decoder_only else 1e-3
    while step < steps and time.time() - began < minutes * 60:
        x = crops(pictures, rng)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.set_grad_enabled(not decoder_only):
                z = vae.encode(x).latent_dist.mean.float()
            z_noisy = z + POSTERIOR_STD * (0.3 if decoder_only else 1) * torch.randn_like(z)
            decoded = vae.decode(z_noisy).sample
        loss = loss_of(decoded, x) + (0 if decoder_only else KL_WEIGHT * z.square().mean())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        ema.update(vae, step)
        step += 1
        mean = loss.item() if mean == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            say(f"vae step {step} loss {mean:.4f} z {z.std().item():.2f} {(time.time() - began) / 60:.1f} min", flush=True)
        if step % 300 == 0:
            save_state(out, {"vae": vae, "ema": ema.module}, optimizer, {"step": step})
            say(f"vae step {step} held-out PSNR {psnr(ema.module):.2f} dB", flush=True)
    save_state(out, {"vae": vae, "ema": ema.module}, optimizer, {"step": step})
    say(f"vae done at step {step}: held-out PSNR {psnr(ema.module, 64):.2f} dB", flush=True)


@torch.no_grad()
def psnr(vae: torch.nn.Module, count: int = 24, seed: int = 10_000_019) -> float:
    """Mean over held-out scenes of the PSNR (dB) of decode(encode(x)), pictures clipped to 8-bit range."""
    rng = random.Random(seed)
    values = []
    for _ in range(count):
        x = torch.from_numpy(scenes.draw(scenes.random_scene(rng)).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        values.append(10 * math.log10(4 / max(F.mse_loss(y, x).item(), 1e-9)))
    return sum(values) / len(values)
