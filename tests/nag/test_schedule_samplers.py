"""The window on k-diffusion's own grids and samplers, second-order ones too: every model call by its time."""

import importlib.util
import math
import sys
import types
from pathlib import Path

import pytest
import torch

from extras.nag.schedule import Schedule


def sampling():
    """k-diffusion's sampling module alone; its package import pulls in training dependencies."""
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("k_diffusion is not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    package = types.ModuleType("_k_alone")
    package.__path__ = [str(folder)]
    helper = types.ModuleType("_k_alone.utils")
    helper.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    package.utils = helper
    sys.modules.setdefault("_k_alone", package)
    sys.modules.setdefault("_k_alone.utils", helper)
    spec = importlib.util.spec_from_file_location("_k_alone.sampling", folder / "sampling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["_k_alone.sampling"] = module
    spec.loader.exec_module(module)
    return module


def discrete():
    """(all sigmas of SD's training schedule, sigma -> timestep)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)
    sigmas = ((1 - kept) / kept).sqrt()
    logs = sigmas.log().tolist()

    def to_t(sigma):
        x = math.log(max(float(sigma), 1e-10))
        for low in range(998, -1, -1):
            if logs[low] <= x or low == 0:
                break
        return min(999.0, max(0.0, low + (x - logs[low]) / (logs[low + 1] - logs[low])))

    return sigmas, to_t


@pytest.mark.parametrize(
    "name", ["sample_euler", "sample_heun", "sample_dpm_2", "sample_dpmpp_2m", "sample_dpmpp_2s_ancestral"]
)
@pytest.mark.parametrize("grid", ["karras", "even"])
def test_model_calls_of_k_samplers_follow_the_window_by_time(name, grid):
    k = sampling()
    every, to_t = discrete()
    if grid == "karras":
        sigmas = k.get_sigmas_karras(6, float(every[0]), float(every[-1]))
    else:
        places = torch.linspace(999, 0, 6).round().long()
        sigmas = torch.cat([every[places], torch.zeros(1, dtype=torch.float64)])
    times = [to_t(s) for s in sigmas[:-1]]
    resolved = Schedule(0.17, 0.5, ramp_steps=2).resolve(times, sigmas.tolist())
    calls = []

    def model(x, sigma, **_):
        calls.append(to_t(sigma[0]))
        return torch.zeros_like(x)

    getattr(k, name)(model, torch.ones(1, 1, 2, 2, dtype=torch.float64), sigmas.double(), disable=True)
    for t in calls:
        strength, _ = resolved.strength_at(t)
        progress = max(0, (998 - t) / 999)
        assert (strength > 0) == (bool(resolved.guided_steps) and 0.17 <= progress < 0.5)
    at_steps = [t for t in calls if min(abs(t - x) for x in times) < 1e-3]
    assert {resolved.step_at(t) for t in at_steps if resolved.strength_at(t)[0] > 0} == set(resolved.guided_steps)
    if name == "sample_heun":
        assert len(calls) == 2 * 6 - 1
        assert [resolved.step_at(t) for t in calls] == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
