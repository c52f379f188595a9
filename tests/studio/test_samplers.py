"""Sigma grids, denoisers and the samplers that are ours, against independent arithmetic."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from extras.studio import bootstrap
from extras.studio import samplers as table
from extras.studio.denoisers import DiscreteDenoiser, LCMDenoiser, TimestepsDenoiser
from extras.studio.kdiffusion import noise_from, randn_like, sampling
from extras.studio.schedulers import SCHEDULERS, SCHEDULERS_MAP

bootstrap.install()


def _model(parameterization="eps", predict=None):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    model = SimpleNamespace(alphas_cumprod=torch.cumprod(1 - betas, 0).float(), parameterization=parameterization)
    model.apply_model = predict or (lambda x, t, **kw: torch.zeros_like(x))
    return model


def _grid(name, n, denoiser=None):
    d = denoiser or DiscreteDenoiser(_model())
    s = SCHEDULERS_MAP[name]
    extra = {"inner_model": d} if s.need_inner_model else {}
    sigmas = s.function(n=n, sigma_min=float(d.sigma_min), sigma_max=float(d.sigma_max), device="cpu", **extra)
    return sigmas, d.sigma_to_t(sigmas[:-1])


@pytest.mark.parametrize(
    "name, steps, expected",
    [
        ("Simple", 4, [999, 749, 499, 249]),
        ("Trailing", 4, [999, 749, 499, 249]),
        ("SGM Uniform", 4, [999, 749.25, 499.5, 249.75]),
        ("DDIM", 4, [751, 501, 251, 1]),
        ("Normal", 4, [999, 666, 333, 0]),
        ("Uniform", 4, [999, 666, 333, 0]),
        ("Trailing", 8, [999, 874, 749, 624, 499, 374, 249, 124]),
        ("Simple", 1, [999]),
        ("SGM Uniform", 2, [999, 499.5]),
    ],
)
def test_grids_in_training_steps(name, steps, expected):
    assert _grid(name, steps)[1].tolist() == pytest.approx(expected, abs=0.02)


def test_lcm_grids():
    lcm = LCMDenoiser(_model())
    assert len(lcm.sigmas) == 50
    _, t = _grid("Simple", 4, lcm)
    assert t.tolist() == [999, 759, 499, 259]
    assert lcm.sigma_to_t(lcm.get_sigmas(4)[:-1]).tolist() == [999, 679, 339, 19]


@pytest.mark.parametrize("name", [s.label for s in SCHEDULERS if s.function])
@pytest.mark.parametrize("steps", [1, 2, 4, 25])
def test_every_schedule_descends_from_noise_to_zero(name, steps):
    sigmas, _ = _grid(name, steps)
    assert (sigmas.diff() < 0).all() and not sigmas.isnan().any() and len(sigmas) == steps + 1
    assert sigmas[-1] == 0 or (name == "KL Optimal" and sigmas[-1] < 0.03)  # as A1111: it ends at the smallest sigma
    assert sigmas[0] <= 14.7 and (name == "DDIM" or sigmas[0] > 14.5)


def test_the_ends_are_sd_1s():
    d = DiscreteDenoiser(_model())
    assert float(d.sigma_min) == pytest.approx(0.0292, abs=1e-4) and float(d.sigma_max) == pytest.approx(
        14.6146, abs=1e-3
    )


def test_sigma_and_t_are_inverse():
    d = DiscreteDenoiser(_model())
    t = torch.linspace(0, 999, 57)
    assert torch.allclose(d.sigma_to_t(d.t_to_sigma(t)), t, atol=0.02)
    assert d.sigma_to_t(d.sigmas[[0, 500, 999]], quantize=True).tolist() == [0, 500, 999]


@pytest.mark.parametrize("kind", ["eps", "v"])
def test_a_perfect_network_gives_back_the_clean_latent(kind):
    x0, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    seen = []

    def predict(x, t, **kw):
        seen.append(float(t[0]))
        abar = model.alphas_cumprod[t.round().long()][:, None, None, None]
        assert torch.allclose(x, abar.sqrt() * x0 + (1 - abar).sqrt() * noise, atol=1e-4)
        return noise if kind == "eps" else abar.sqrt() * noise - (1 - abar).sqrt() * x0

    model = _model(kind, predict)
    for make in (DiscreteDenoiser, LCMDenoiser):
        d = make(model)
        for sigma in d.sigmas[[5, 25, len(d.sigmas) - 1]]:
            got = d(x0 + noise * sigma, sigma.repeat(2))
            assert torch.allclose(got, x0, atol=2e-3)
    t = torch.full((2,), 700.0)
    abar = model.alphas_cumprod[700]
    eps = TimestepsDenoiser(model)(abar.sqrt() * x0 + (1 - abar).sqrt() * noise, t)
    assert torch.allclose(eps, noise, atol=1e-4)


def test_ddim_with_a_perfect_network_ends_on_the_clean_latent():
    x0, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    model = _model("eps", lambda x, t, **kw: noise)
    cfg = SimpleNamespace(inner_model=SimpleNamespace(inner_model=model))
    calls = []

    class Denoiser:
        inner_model = SimpleNamespace(inner_model=model)

        def __call__(self, x, t):
            calls.append(float(t[0]))
            return noise

    assert cfg.inner_model.inner_model is model
    timesteps = torch.tensor([1, 251, 501, 751])
    abar = model.alphas_cumprod
    x = abar[751].sqrt() * x0 + (1 - abar[751]).sqrt() * noise
    got = table.sample_ddim(Denoiser(), x, timesteps, disable=True)
    assert calls == [751, 501, 251]
    assert torch.allclose(got, abar[1].sqrt() * x0 + (1 - abar[1]).sqrt() * noise, atol=1e-3)


def test_euler_is_k_diffusions_own():
    assert table.SAMPLERS_MAP["Euler"].function is sampling.sample_euler
    assert sampling.__name__ == "k_diffusion.sampling"
    x = torch.ones(1, 1, 1, 1) * 2
    got = sampling.sample_euler(lambda x, s: x * 0.5, x, torch.tensor([2.0, 1.0, 0.0]), disable=True)
    assert float(got) == pytest.approx(2 * 0.75 * 0.5)  # x += (x - D)/s * ds, twice


def test_noise_comes_from_the_run_and_the_module_is_put_back():
    before = sampling.torch
    drawn = torch.full((1, 4, 2, 2), 3.0)
    with pytest.raises(RuntimeError), noise_from(lambda: drawn):
        assert torch.equal(randn_like(torch.zeros(1, 4, 2, 2)), drawn) and torch.equal(
            sampling.torch.randn_like(drawn), drawn
        )
        raise RuntimeError
    assert sampling.torch is before


@pytest.mark.parametrize(
    "given, expected",
    [
        (("Euler", None), ("Euler", "Automatic")),
        (("euler a", "karras"), ("Euler a", "Karras")),
        (("k_dpmpp_2m", "SGMUniform"), ("DPM++ 2M", "SGM Uniform")),
        (("DPM++ 2M Karras", None), ("DPM++ 2M", "Karras")),
        (("DPM++ 2M SDE Heun Exponential", None), ("DPM++ 2M SDE Heun", "Exponential")),
        ((None, "automatic"), ("DPM++ 2M", "Automatic")),
    ],
)
def test_names(given, expected):
    from modules.sd_samplers import split_sampler_and_scheduler

    assert split_sampler_and_scheduler(*given) == expected


@pytest.mark.parametrize("given, field", [(("Oiler", None), "Sampler"), (("Euler", "Karas"), "Scheduler")])
def test_unknown_names_list_the_known_ones(given, field):
    from modules.sd_samplers import UnknownName, split_sampler_and_scheduler

    with pytest.raises(UnknownName, match=f"{field} .*not found; allowed are: .*(Euler|Karras)"):
        split_sampler_and_scheduler(*given)
