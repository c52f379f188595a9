"""The train timesteps that a sampler will walk, without any model: what turns a window into steps.

SD 1.x, 2.x and SDXL share one noise schedule, and WebUIs the samplers' grids; where a host walks another grid its
report says so and the picture is refused (engines/answers.py).
"""

from __future__ import annotations

from functools import lru_cache

from .errors import LabError


@lru_cache(maxsize=64)
def times(sampler: str, scheduler: str, steps: int) -> tuple[float, ...]:
    """Timesteps (999 = noise … 0), one per step, descending. LabError for an unknown sampler or scheduler."""
    import torch

    from extras.studio import samplers, schedulers

    spec = samplers.SAMPLERS_MAP.get(sampler)
    if spec is None:
        raise LabError(f"sampler: {sampler!r} is not known here; allowed: {', '.join(samplers.SAMPLERS_MAP)}")
    if scheduler not in schedulers.SCHEDULERS_MAP:
        raise LabError(f"scheduler: {scheduler!r} is not known; allowed: {', '.join(_labels())}")
    if spec.family == samplers.FAMILY_TIMESTEPS:
        ascending = torch.clip(torch.arange(0, 1000, 1000 // max(steps, 1)) + 1, 0, 999).tolist()
        return tuple(float(t) for t in reversed(ascending[1:]))
    schedule = schedulers.SCHEDULERS_MAP[scheduler]
    if schedule.function is None:
        schedule = schedulers.SCHEDULERS_MAP.get(str(spec.options.get("scheduler")), schedule)
    inner = _denoiser(spec.family == samplers.FAMILY_LCM)
    discard = bool(spec.options.get("discard_next_to_last_sigma", False))
    steps += discard
    if schedule.function is None:
        sigmas = inner.get_sigmas(steps)
    else:
        given = {"sigma_min": inner.sigmas[0].item(), "sigma_max": inner.sigmas[-1].item(), "device": "cpu"}
        if schedule.need_inner_model:
            given["inner_model"] = inner
        sigmas = schedule.function(n=steps, **given)
    sigmas = torch.cat([sigmas[:-2], sigmas[-1:]]) if discard else sigmas
    sigmas = sigmas[:-1].float()
    return tuple(float(t) for t in inner.sigma_to_t(sigmas[sigmas > 0]).tolist())


def _labels() -> list[str]:
    from extras.studio import schedulers

    return [schedule.label for schedule in schedulers.SCHEDULERS]


@lru_cache(maxsize=2)
def _denoiser(lcm: bool):
    from types import SimpleNamespace

    import torch

    from extras.studio import denoisers

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    model = SimpleNamespace(alphas_cumprod=torch.cumprod(1 - betas, 0).float(), parameterization="eps")
    return (denoisers.LCMDenoiser if lcm else denoisers.DiscreteDenoiser)(model)
