"""Stage 1: the autoencoder. Encoder and decoder together first; then the encoder is frozen and the decoder refined.

Trained on 64-pixel crops (a convolution does not care), without the attention block (see `arch.build_vae`). The latent
posterior has a fixed standard deviation, which keeps the latent space smooth for the diffusion model.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import arch, scenes
from .fit import Loss, fit
from .state import load_state

CROP, BATCH = 64, 8
PICTURES, HELD_OUT = 8000, 64
"""Scenes drawn to train on, and to measure on."""
POSTERIOR_STD, KL_WEIGHT = 0.1, 2e-4


def crops(pictures: np.ndarray, rng: np.random.Generator, batch: int = BATCH) -> torch.Tensor:
    """Random crops with something in them. pictures uint8 (N, 128, 128, 3) -> float (batch, 3, CROP, CROP) in −1…1.

    Three candidates are drawn per crop and the busiest kept: most of a flat scene teaches nothing.
    """
    out = np.empty((batch, CROP, CROP, 3), np.uint8)
    for i in range(batch):
        best = -1.0
        for _ in range(3):
            n, y, x = (
                rng.integers(len(pictures)),
                rng.integers(scenes.SIZE - CROP + 1),
                rng.integers(scenes.SIZE - CROP + 1),
            )
            crop = pictures[n, y : y + CROP, x : x + CROP]
            busy = float(np.abs(np.diff(crop[::4, ::4].astype(np.int16), axis=0)).mean())
            if busy > best:
                best, out[i] = busy, crop
        if rng.random() < 0.5:
            out[i] = out[i][:, ::-1]
    return torch.from_numpy(out).permute(0, 3, 1, 2).float() / 127.5 - 1


def whole(pictures: np.ndarray, rng: np.random.Generator, batch: int = BATCH // 2) -> torch.Tensor:
    """Whole pictures, float (batch, 3, 128, 128) in −1…1."""
    return torch.from_numpy(pictures[rng.integers(len(pictures), size=batch)]).permute(0, 3, 1, 2).float() / 127.5 - 1


def loss_of(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 for crisp edges, MSE because PSNR counts."""
    error = decoded.float() - target
    return error.abs().mean() + 2 * error.square().mean()


def train(out: Path, minutes: float, seed: int = 0, say=print) -> None:
    """Encoder and decoder together, on crops, for `minutes` in all (resumed runs add up); state in `out`."""
    vae = arch.build_vae(attention=False)
    _fit(vae, list(vae.parameters()), out, minutes, 1e-3, joint=True, seed=seed, say=say)


def refine(out: Path, joint: Path, minutes: float, seed: int = 1, say=print) -> None:
    """The decoder alone, on whole pictures (borders and large flat areas), starting from the averaged state in `joint`.

    The encoder, and so the latent space that the diffusion models live in, stays bit for bit as it was.
    """
    vae = arch.build_vae(attention=False)
    load_state(joint, {"ema": vae})
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    parameters = [p for part in (vae.decoder, vae.post_quant_conv) for p in part.parameters()]
    _fit(vae, parameters, out, minutes, 5e-4, joint=False, seed=seed, say=say)


def _fit(vae, parameters, out: Path, minutes: float, peak: float, joint: bool, seed: int, say) -> None:
    torch.manual_seed(seed)

    def begin(step: int) -> Loss:
        rng, picks = np.random.default_rng(seed + step), random.Random(seed + 1 + step)
        pictures = np.stack([scenes.draw(scenes.random_scene(picks)) for _ in range(PICTURES)])

        def loss() -> torch.Tensor:
            x = crops(pictures, rng) if joint else whole(pictures, rng)
            with torch.autocast("cpu", torch.bfloat16):
                with torch.set_grad_enabled(joint):
                    z = vae.encode(x).latent_dist.mean.float()
                decoded = vae.decode(z + (1.0 if joint else 0.5) * POSTERIOR_STD * torch.randn_like(z)).sample
            return loss_of(decoded, x) + (KL_WEIGHT * z.square().mean() if joint else 0.0)

        return loss

    averaged = fit(
        out, vae, begin, minutes, name="vae", key="vae", peak=peak, average=0.995, parameters=parameters,
        weight_decay=0.0, say=say,
    )  # fmt: skip
    say(f"vae: held-out PSNR {psnr(averaged, HELD_OUT):.2f} dB", flush=True)


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
