"""The grid of a sampling function, against what the function really asks its model."""

from types import SimpleNamespace

import pytest
import torch

from extras.nag.hosts.webui.grid import grid_of_call
from extras.nag.schedule import Schedule
from extras.studio.kdiffusion import sampling


class Inner:
    """A denoiser whose times are the logarithms of sigmas, and its sampler."""

    sigmas = torch.logspace(-1, 1, 1000)

    def sigma_to_t(self, sigma):
        return 500 + 200 * sigma.log()


def asked(name, **arguments):
    """Sigmas at which the sampling function asks."""
    seen = []

    def model(x, sigma, **rest):
        seen.append(float(sigma[0]))
        return 0.9 * x

    torch.manual_seed(0)
    getattr(sampling, name)(model, torch.ones(1, 1, 2, 2), disable=True, **arguments)
    return seen


def grid(**arguments):
    return grid_of_call(SimpleNamespace(model_wrap_cfg=SimpleNamespace(inner_model=Inner())), arguments, 4)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("n", range(1, 10))
def test_every_evaluation_of_dpm_fast_is_a_step(n, eta):
    seen = asked("sample_dpm_fast", sigma_min=0.1, sigma_max=10.0, n=n, eta=eta)
    assert grid(sigma_min=0.1, sigma_max=10.0, n=n, eta=eta).sigmas == pytest.approx(seen, rel=1e-4)


@pytest.mark.parametrize("churn", [0.0, 1.0, 40.0])
def test_a_churned_sigma_belongs_to_its_step(churn):
    sigmas = torch.cat([torch.logspace(1, -1, 5), torch.zeros(1)])
    seen = asked("sample_euler", sigmas=sigmas, s_churn=churn)
    made = grid(sigmas=sigmas, s_churn=churn)
    resolved = Schedule().resolve(made.times, made.sigmas)
    denoiser = SimpleNamespace(inner_model=Inner())
    assert [resolved.step_at(made.time_of(denoiser, sigma)) for sigma in seen] == [1, 2, 3, 4, 5]
    if churn:
        assert seen != pytest.approx(sigmas[:-1].tolist())


@pytest.mark.parametrize("image", [True, False])
def test_unipc_that_is_left_no_step_has_no_grid(image):
    """img2img with a low strength: the host fails on it, with us or without."""

    def unipc():
        """Its name is what it is known by."""

    sampler = SimpleNamespace(model_wrap_cfg=SimpleNamespace(inner_model=SimpleNamespace(inner_model=None)), func=unipc)
    made = grid_of_call(sampler, {"timesteps": torch.tensor([]), "is_img2img": image}, 4)
    assert made.times == () and made.sigmas == ()
