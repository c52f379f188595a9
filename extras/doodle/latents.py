"""Between the stages: whiten the latent space, encode the training scenes once, keep captions' scenes beside them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from . import arch, scenes
from .state import load_state

WHITENING_SCENES = 400


def picture(scene: scenes.Scene) -> torch.Tensor:
    """The drawn scene as float (3, 128, 128) in −1…1."""
    return torch.from_numpy(scenes.draw(scene).copy()).permute(2, 0, 1).float() / 127.5 - 1


@torch.no_grad()
def whitened_vae(state: Path, count: int = 0, seed: int = 7) -> torch.nn.Module:
    """The trained autoencoder, its latents made zero-mean, unit-variance and uncorrelated.

    state: what `train_vae.train` wrote. The linear map is folded into `quant_conv` and `post_quant_conv`, so that hosts
    keep the usual scale factor (0.18215), and the posterior's spread is set to almost nothing.
    """
    count = count or WHITENING_SCENES
    plain = arch.build_vae(attention=False)
    load_state(state, {"ema": plain})
    plain.eval()
    rng = random.Random(seed)
    batch = [torch.stack([picture(scenes.random_scene(rng)) for _ in range(20)]) for _ in range(count // 20)]
    z = torch.cat([plain.encode(x).latent_dist.mean for x in batch]).double()
    flat = z.permute(1, 0, 2, 3).reshape(4, -1)
    mean = flat.mean(1)
    power, basis = torch.linalg.eigh(torch.cov(flat))
    whiten = (basis @ torch.diag(power.rsqrt()) @ basis.T) / arch.SCALE_FACTOR  # z_host = whiten (z − mean)
    unwhiten = torch.linalg.inv(whiten)

    vae = arch.build_vae(attention=True).eval()
    missing, unexpected = vae.load_state_dict(plain.state_dict(), strict=False)
    if unexpected or any("attentions" not in key for key in missing):
        raise RuntimeError(f"autoencoder states differ: {missing} {unexpected}")
    for middle in (vae.encoder.mid_block, vae.decoder.mid_block):
        middle.attentions[0].to_out[0].weight.zero_()
        middle.attentions[0].to_out[0].bias.zero_()
    weight, bias = plain.quant_conv.weight[:4, :, 0, 0].double(), plain.quant_conv.bias[:4].double()
    vae.quant_conv.weight[:4, :, 0, 0] = (whiten @ weight).float()
    vae.quant_conv.bias[:4] = (whiten @ (bias - mean)).float()
    vae.quant_conv.weight[4:] = 0.0
    vae.quant_conv.bias[4:] = -12.0
    weight, bias = plain.post_quant_conv.weight[:, :, 0, 0].double(), plain.post_quant_conv.bias.double()
    vae.post_quant_conv.weight[:, :, 0, 0] = (weight @ unwhiten).float()
    vae.post_quant_conv.bias[:] = (weight @ mean + bias).float()
    return vae


@torch.no_grad()
def encode_scenes(vae: torch.nn.Module, count: int, seed: int, say=print) -> tuple[torch.Tensor, list[scenes.Scene]]:
    """`count` random scenes and their latents, scaled as the UNet sees them: float16 (count, 4, 16, 16), unit
    variance."""
    rng = random.Random(seed)
    content = [scenes.random_scene(rng) for _ in range(count)]
    out = []
    for start in range(0, count, 32):
        x = torch.stack([picture(s) for s in content[start : start + 32]])
        with torch.autocast("cpu", torch.bfloat16):
            z = vae.encode(x).latent_dist.mean
        out.append((z.float() * arch.SCALE_FACTOR).half())
        if start % 3200 == 0:
            say(f"encoded {start}/{count}", flush=True)
    return torch.cat(out).contiguous(), content


def to_pictures(vae: torch.nn.Module, latents: torch.Tensor) -> np.ndarray:
    """Decode scaled latents (n, 4, 16, 16) to uint8 (n, 128, 128, 3)."""
    with torch.no_grad():
        x = torch.cat([vae.decode(z[None].float() / arch.SCALE_FACTOR).sample for z in latents])
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
