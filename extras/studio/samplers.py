"""The samplers under A1111's names: k-diffusion's own functions, and LCM and DDIM written from their papers.

A 4-step student trained on the trailing grid 999, 749, 499, 249 gets exactly these from any k-diffusion
sampler with the scheduler Simple (or Trailing), and 999, 749.25, 499.5, 249.75 with SGM Uniform; LCM with
Simple gives 999, 759, 499, 259, LCM's own grid. DDIM walks 751, 501, 251, 1 whatever the scheduler: A1111's
timestep samplers ignore it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from tqdm.auto import trange

from extras.studio.kdiffusion import randn_like, sampling

FAMILY_K, FAMILY_LCM, FAMILY_TIMESTEPS = "k-diffusion", "lcm", "timesteps"
_CHURN = ("s_churn", "s_tmin", "s_tmax", "s_noise")


@torch.no_grad()
def sample_lcm(model, x, sigmas, extra_args=None, callback=None, disable=None, noise_sampler=None):
    """Multistep consistency sampling (arXiv 2310.04378, algorithm 3): predict x0, add fresh noise, repeat."""
    extra_args = extra_args or {}
    noise_sampler = noise_sampler or (lambda sigma, sigma_next: randn_like(x))
    ones = x.new_ones([x.shape[0]])
    for i in trange(len(sigmas) - 1, disable=disable):
        denoised = model(x, sigmas[i] * ones, **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = denoised
        if sigmas[i + 1] > 0:
            x = x + sigmas[i + 1] * noise_sampler(sigmas[i], sigmas[i + 1])
    return x


@torch.no_grad()
def sample_ddim(model, x, timesteps, extra_args=None, callback=None, disable=None, eta=0.0):
    """DDIM (arXiv 2010.02502, eq. 12 and 16) over ascending ``timesteps``, from the last down to the first.

    ``model(x, t)`` predicts eps. As in A1111 the lowest timestep is where the walk ends, not a model call:
    n timesteps are n - 1 calls.
    """
    extra_args = extra_args or {}
    abar = model.inner_model.inner_model.alphas_cumprod.to(torch.float64)
    ones = x.new_ones([x.shape[0]])
    for i in trange(len(timesteps) - 1, disable=disable):
        index = len(timesteps) - 1 - i
        t, t_prev = int(timesteps[index]), int(timesteps[index - 1])
        a, a_prev = float(abar[t]), float(abar[t_prev])
        eps = model(x, t * ones, **extra_args)
        sigma = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)) ** 0.5
        x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
        noise = randn_like(x)
        x = a_prev**0.5 * x0 + (1 - a_prev - sigma**2) ** 0.5 * eps + sigma * noise
        if callback is not None:
            callback({"x": x, "i": i, "sigma": 0, "sigma_hat": 0, "denoised": x0})
    return x


class SamplerSpec(NamedTuple):
    """``options``: scheduler (default schedule), second_order, brownian_noise, discard_next_to_last_sigma,
    uses_ensd, solver_type. ``extra_params``: settings the function takes."""

    name: str
    function: Callable
    aliases: list[str]
    options: dict[str, Any]
    family: str = FAMILY_K
    extra_params: tuple[str, ...] = ()


def _k(name, funcname, aliases, extra=(), **options) -> SamplerSpec:
    return SamplerSpec(name, getattr(sampling, funcname), aliases, options, FAMILY_K, tuple(extra))


SAMPLERS: list[SamplerSpec] = [
    _k("DPM++ 2M", "sample_dpmpp_2m", ["k_dpmpp_2m"], scheduler="karras"),
    _k(
        "DPM++ SDE",
        "sample_dpmpp_sde",
        ["k_dpmpp_sde"],
        ["s_noise"],
        scheduler="karras",
        second_order=True,
        brownian_noise=True,
    ),
    _k(
        "DPM++ 2M SDE",
        "sample_dpmpp_2m_sde",
        ["k_dpmpp_2m_sde"],
        ["s_noise"],
        scheduler="exponential",
        brownian_noise=True,
    ),
    _k(
        "DPM++ 2M SDE Heun",
        "sample_dpmpp_2m_sde",
        ["k_dpmpp_2m_sde_heun"],
        ["s_noise"],
        scheduler="exponential",
        brownian_noise=True,
        solver_type="heun",
    ),
    _k(
        "DPM++ 2S a",
        "sample_dpmpp_2s_ancestral",
        ["k_dpmpp_2s_a"],
        ["s_noise"],
        scheduler="karras",
        uses_ensd=True,
        second_order=True,
    ),
    _k(
        "DPM++ 3M SDE",
        "sample_dpmpp_3m_sde",
        ["k_dpmpp_3m_sde"],
        ["s_noise"],
        scheduler="exponential",
        discard_next_to_last_sigma=True,
        brownian_noise=True,
    ),
    _k("Euler a", "sample_euler_ancestral", ["k_euler_a", "k_euler_ancestral"], uses_ensd=True),
    _k("Euler", "sample_euler", ["k_euler"], _CHURN),
    _k("LMS", "sample_lms", ["k_lms"]),
    _k("Heun", "sample_heun", ["k_heun"], _CHURN, second_order=True),
    _k(
        "DPM2",
        "sample_dpm_2",
        ["k_dpm_2"],
        _CHURN,
        scheduler="karras",
        discard_next_to_last_sigma=True,
        second_order=True,
    ),
    _k(
        "DPM2 a",
        "sample_dpm_2_ancestral",
        ["k_dpm_2_a"],
        ["s_noise"],
        scheduler="karras",
        discard_next_to_last_sigma=True,
        uses_ensd=True,
        second_order=True,
    ),
    _k("DPM fast", "sample_dpm_fast", ["k_dpm_fast"], ["s_noise"], uses_ensd=True),
    _k("DPM adaptive", "sample_dpm_adaptive", ["k_dpm_ad"], uses_ensd=True),
    SamplerSpec("DDIM", sample_ddim, ["ddim"], {}, FAMILY_TIMESTEPS),
    SamplerSpec("LCM", sample_lcm, ["k_lcm"], {}, FAMILY_LCM),
]
SAMPLERS_MAP = {s.name: s for s in SAMPLERS}
FOR_FLOWS = ("Euler", "Heun", "DPM2", "LMS", "DPM++ 2M")
"""Those that add no noise: what noise they add is not a flow's."""


def names() -> list[str]:
    return [s.name for s in SAMPLERS]
