"""Noise schedules under A1111's names: n steps become n + 1 descending sigmas, the last one 0.

What they give for 4 steps on a model of 1000 training steps, as training steps:

    Simple          999 749 499 249         exactly the trailing grid that a 4-step student is trained on
    SGM Uniform     999 749.25 499.5 249.75 the same within one step
    DDIM            751 501 251 1           the leading grid
    Normal, Uniform 999 666 333 0
    Trailing        999 749 499 249         ours: the trailing grid for any n (Lin et al., arXiv 2305.08891)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from extras.studio.kdiffusion import sampling


@dataclasses.dataclass
class Scheduler:
    """``function(n, sigma_min, sigma_max, device[, inner_model])``; rho -1 means the schedule has none."""

    name: str
    label: str
    function: Callable | None
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list | None = None


def _from_timesteps(t: torch.Tensor, inner_model, device) -> torch.Tensor:
    sigmas = inner_model.t_to_sigma(t.to(inner_model.sigmas.device))
    return torch.cat([sigmas, sigmas.new_zeros([1])]).float().to(device)


def _ends(inner_model, sigma_min, sigma_max) -> tuple[float, float]:
    """Training steps of the largest and of the smallest sigma."""
    like = inner_model.sigmas
    return tuple(
        float(inner_model.sigma_to_t(torch.tensor(s, device=like.device, dtype=like.dtype)))
        for s in (sigma_max, sigma_min)
    )


def uniform(n, sigma_min, sigma_max, inner_model, device):
    """Equidistant training steps over the whole range of the model."""
    return inner_model.get_sigmas(n).to(device)


def normal(n, sigma_min, sigma_max, inner_model, device):
    """Equidistant training steps between the two sigmas, both ends included."""
    return _from_timesteps(torch.linspace(*_ends(inner_model, sigma_min, sigma_max), n), inner_model, device)


def sgm_uniform(n, sigma_min, sigma_max, inner_model, device):
    """As `normal` with one step more, the last of which is left out (Stability's generative-models)."""
    return _from_timesteps(torch.linspace(*_ends(inner_model, sigma_min, sigma_max), n + 1)[:-1], inner_model, device)


def simple(n, sigma_min, sigma_max, inner_model, device):
    """Every (len/n)-th of the model's own sigmas, counted down from the largest."""
    every = len(inner_model.sigmas) / n
    sigmas = [float(inner_model.sigmas[-(1 + int(i * every))]) for i in range(n)]
    return torch.tensor([*sigmas, 0.0], device=device)


def ddim(n, sigma_min, sigma_max, inner_model, device):
    """DDIM's leading grid: 1, 1 + len/n, ... A step count that does not divide gives a few steps more."""
    count = len(inner_model.sigmas)
    sigmas = [float(inner_model.sigmas[i]) for i in range(1, count, max(count // n, 1))]
    return torch.tensor([*sigmas[::-1], 0.0], device=device)


def trailing(n, sigma_min, sigma_max, inner_model, device):
    """round(len * (1 - i/n)) - 1 for i = 0 .. n-1, in the model's own steps."""
    count = len(inner_model.sigmas)
    indices = [min(count - 1, max(0, round(count * (1 - i / n)) - 1)) for i in range(n)]
    return torch.tensor([*(float(inner_model.sigmas[i]) for i in indices), 0.0], device=device)


def kl_optimal(n, sigma_min, sigma_max, device):
    """tan of equidistant angles between atan(sigma_max) and atan(sigma_min) (AYS paper, arXiv 2404.14507)."""
    low, high = torch.atan(torch.tensor(float(sigma_min))), torch.atan(torch.tensor(float(sigma_max)))
    share = torch.arange(n + 1, dtype=torch.float32) / n
    return torch.tan(share * low + (1 - share) * high).to(device)


SCHEDULERS = [
    Scheduler("automatic", "Automatic", None),
    Scheduler("uniform", "Uniform", uniform, need_inner_model=True),
    Scheduler("karras", "Karras", sampling.get_sigmas_karras, default_rho=7.0),
    Scheduler("exponential", "Exponential", sampling.get_sigmas_exponential),
    Scheduler("polyexponential", "Polyexponential", sampling.get_sigmas_polyexponential, default_rho=1.0),
    Scheduler("sgm_uniform", "SGM Uniform", sgm_uniform, need_inner_model=True, aliases=["SGMUniform"]),
    Scheduler("kl_optimal", "KL Optimal", kl_optimal),
    Scheduler("simple", "Simple", simple, need_inner_model=True),
    Scheduler("normal", "Normal", normal, need_inner_model=True),
    Scheduler("ddim", "DDIM", ddim, need_inner_model=True),
    Scheduler("trailing", "Trailing", trailing, need_inner_model=True),
]
SCHEDULERS_MAP = {**{s.name: s for s in SCHEDULERS}, **{s.label: s for s in SCHEDULERS}}
