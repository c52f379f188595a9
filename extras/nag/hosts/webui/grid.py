"""Where in the sampling a model call stands, and the grid of times a sampler is going to walk."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

_NEAR = 2e-3  # relative; a sigma in half precision is still this one


@dataclass(frozen=True)
class Grid:
    """``times``: train timestep of each sampler step, descending. ``sigmas``: as many. ``exact``: False
    where the sampler chooses its own steps and these only stand for them. ``churn``: the sampler raises a step's
    sigma by up to this share before it asks the model."""

    times: tuple[float, ...]
    sigmas: tuple[float, ...]
    exact: bool = True
    churn: float = 0.0

    def time_of(self, denoiser: Any, sigma: float) -> float:
        """Train timestep of an evaluation at ``sigma``, as the denoiser's callback tells it; one on the grid where
        the sigma is one of it."""
        inner = denoiser.inner_model
        continuous = hasattr(inner, "sigma_to_t")
        if not continuous and not getattr(denoiser, "classic_ddim_eps_estimation", False):
            return sigma  # timesteps samplers of A1111: it is the timestep
        known = self.time_at(sigma)
        if known is not None:
            return known
        return float(_times(inner, torch.tensor([sigma]))[0]) if continuous else _time_at(inner.inner_model, sigma)

    def time_at(self, sigma: float) -> float | None:
        """Train timestep of a sigma of the grid, None for one between."""
        for known, t in zip(self.sigmas, self.times, strict=True):
            if -_NEAR * known <= sigma - known <= (_NEAR + self.churn) * known:
                return t
        return None


def grid_of_call(sampler: Any, arguments: Mapping[str, Any], steps: int) -> Grid:
    """The grid of a sampling function called with ``arguments``. ``steps``: used where they name no grid."""
    inner = sampler.model_wrap_cfg.inner_model
    if hasattr(inner, "sigma_to_t"):
        sigmas = next((arguments[k] for k in ("sigmas", "sigma_sched") if arguments.get(k) is not None), None)
        exact = sigmas is not None
        churn = 0.0
        if sigmas is None:
            high = float(arguments.get("sigma_max", inner.sigmas[-1]))
            low = float(arguments.get("sigma_min", inner.sigmas[0]))
            if "n" in arguments:
                sigmas = _fast_sigmas(high, low, max(int(arguments["n"]), 1), float(arguments.get("eta", 0.0)))
            else:
                sigmas = torch.logspace(math.log10(high), math.log10(low), max(steps, 1))
        elif arguments.get("s_churn"):
            churn = min(float(arguments["s_churn"]) / max(len(sigmas) - 1, 1), math.sqrt(2) - 1)
        used = sigmas[: len(sigmas) - exact].float().cpu()  # the last one given is where the walk ends
        used = used[used > 0]
        return Grid(tuple(_times(inner, used)), tuple(used.tolist()), exact, churn)
    ascending = arguments.get("timesteps")
    if ascending is None:
        ascending = torch.linspace(1, 999, steps + 1)
    if "unipc" in getattr(sampler.func, "__name__", ""):
        times = _unipc_times(inner.inner_model, ascending, bool(arguments.get("is_img2img")))
    else:  # from the last to the second: the first is where the walk ends
        times = [float(t) for t in ascending.flip(0).tolist()[:-1]]
    return Grid(tuple(times), tuple(_sigma_at(inner.inner_model, t) for t in times))


def preview_grid(sampler_name: str, scheduler: str | None, steps: int, denoise: float | None = None) -> Grid:
    """The grid of a sampler before anything is generated; of img2img, with its strength ``denoise``. Uniform (not
    exact) while no model is loaded."""
    model = loaded_model()
    try:
        if model is None:
            raise LookupError
        return _preview(model, sampler_name, scheduler, steps, denoise)
    except Exception:  # a plot must not fail because a sampler is unusual
        return even_grid(steps)


def even_grid(steps: int) -> Grid:
    """Times at equal distances: stands for a grid that is not known before the sampling."""
    times = torch.linspace(999, 0, steps).tolist() if steps > 1 else [999.0]
    return Grid(tuple(times), tuple(14.6146 ** (t / 999) for t in times), exact=False)


def loaded_model() -> Any:
    """The model in memory, or None; never loads one."""
    from modules import sd_models, shared

    data = getattr(sd_models, "model_data", None)
    return shared.sd_model if data is None else getattr(data, "sd_model", None)


def _preview(model: Any, sampler_name: str, scheduler: str | None, steps: int, denoise: float | None) -> Grid:
    from modules import sd_samplers, sd_samplers_common

    sampler = sd_samplers.create_sampler(sampler_name, model)
    p = SimpleNamespace(
        is_hr_pass=False, scheduler=scheduler, hr_scheduler=None, sampler_noise_scheduler_override=None,
        extra_generation_params={}, steps=steps, comment=lambda text: None, denoising_strength=denoise,
    )  # fmt: skip
    last = None  # img2img runs the last so many steps of a schedule, and one more with sigmas
    if denoise is not None:
        steps, last = sd_samplers_common.setup_img2img_steps(p)
    if hasattr(sampler, "get_timesteps"):
        timesteps = sampler.get_timesteps(p, steps)[:last]
        return grid_of_call(sampler, {"timesteps": timesteps, "is_img2img": last is not None}, steps)
    sigmas = sampler.get_sigmas(p, steps)[0 if last is None else steps - last - 1 :]
    accepted = inspect.signature(sampler.func).parameters
    if "sigmas" in accepted or "sigma_sched" in accepted:
        return grid_of_call(sampler, {"sigmas": sigmas}, steps)
    if last is None:
        return grid_of_call(sampler, {"n": steps}, steps)
    return grid_of_call(sampler, {"n": len(sigmas) - 1, "sigma_max": sigmas[0], "sigma_min": sigmas[-2]}, steps)


def _fast_sigmas(high: float, low: float, n: int, eta: float) -> Tensor:
    """Where DPM fast asks its model, ``n`` times: solver steps of order 3 (a third and two thirds of the way), the last
    ones of lower order, even in log sigma."""
    ends = torch.linspace(-math.log(high), -math.log(low), n // 3 + 2, dtype=torch.float64).exp().reciprocal().tolist()
    orders = [3] * (n // 3 - 1) + [2, 1] if n % 3 == 0 else [3] * (n // 3) + [n % 3]
    sigmas = []
    for order, begin, end in zip(orders, ends, ends[1:], strict=False):
        up = min(end, eta * math.sqrt(end**2 * (begin**2 - end**2) / begin**2))  # noise that is put back
        down = max(low, math.sqrt(end**2 - up**2))
        sigmas += [begin * (down / begin) ** (i / order) for i in range(order)]
    return torch.tensor(sigmas)


def _times(inner: Any, sigmas: Tensor) -> list[float]:
    """Train timesteps of sigmas (n,). Flow models have sigmas 0..1, the share of noise, and hosts count their time in
    several ways: here it is always a thousandth of the share."""
    table = getattr(inner, "sigmas", None)
    if isinstance(table, Tensor) and float(table[-1]) <= 1.0:
        return [1000.0 * sigma for sigma in sigmas.tolist()]
    known = getattr(inner, "log_sigmas", None)
    with torch.no_grad():
        return [float(t) for t in inner.sigma_to_t(sigmas.to(known.device if known is not None else "cpu")).tolist()]


def _sigma_at(model: Any, t: float) -> float:
    kept = model.alphas_cumprod
    abar = float(kept[min(max(round(t), 0), len(kept) - 1)])
    return math.sqrt((1 - abar) / abar)


def _time_at(model: Any, sigma: float) -> float:
    """The train timestep whose sigma is nearest."""
    kept = model.alphas_cumprod.double()
    return float((((1 - kept) / kept).log() / 2 - math.log(max(sigma, 1e-10))).abs().argmin())


def _unipc_times(model: Any, ascending: Tensor, is_img2img: bool) -> list[float]:
    """UniPC makes its own times from the number of steps."""
    steps = len(ascending)
    if not steps:  # the host fails on it too
        return []
    first = float(ascending[-1]) / 1000 + 1 / 1000 if is_img2img else 1.0
    try:
        from modules import shared
        from modules.models.diffusion.uni_pc import uni_pc

        noise = uni_pc.NoiseScheduleVP("discrete", alphas_cumprod=model.alphas_cumprod)
        solver = uni_pc.UniPC(None, noise)
        kind = shared.opts.uni_pc_skip_type
        times = solver.get_time_steps(skip_type=kind, t_T=first, t_0=1 / 1000, N=steps, device="cpu")
    except (ImportError, AttributeError):
        times = torch.linspace(first, 1 / 1000, steps + 1)
    return [(float(t) - 1 / 1000) * 1000 for t in times.tolist()[:-1]]
