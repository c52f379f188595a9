"""From a network that predicts noise (eps) or velocity (v) to one that predicts the clean latent.

Notation of Karras et al. 2022 (arXiv 2206.00364): x = x0 + sigma * noise, and the network sees x * c_in at
training step t, with sigma(t)^2 = (1 - abar(t)) / abar(t). Between two steps log(sigma) is linear in t.
"""

from __future__ import annotations

import torch
from torch import nn

from extras.studio.kdiffusion import append_dims


class Denoiser(nn.Module):
    """A network and the sigmas it knows, ascending."""

    def __init__(self, model, sigmas: torch.Tensor):
        super().__init__()
        object.__setattr__(self, "inner_model", model)  # not a submodule: the model is not ours to move or count
        self.register_buffer("sigmas", sigmas, persistent=False)

    def for_picture(self, width: int, height: int) -> None:
        """A pass over pictures of this size begins: some models' sigmas depend on it."""

    @property
    def sigma_min(self):
        return self.sigmas[0]

    @property
    def sigma_max(self):
        return self.sigmas[-1]


class DiscreteDenoiser(Denoiser):
    """D(x, sigma) of an eps or v network: `inner_model.apply_model(x, t, cond=...)`.

    ``sigmas`` is (1000,), ascending. `forward` takes x (B, C, H, W) and sigma (B,).
    """

    def __init__(self, model, quantize: bool = False, alphas_cumprod: torch.Tensor | None = None):
        abar = model.alphas_cumprod if alphas_cumprod is None else alphas_cumprod
        super().__init__(model, ((1 - abar) / abar) ** 0.5)
        self.quantize = quantize
        self.sigma_data = 1.0
        self.register_buffer("log_sigmas", self.sigmas.log(), persistent=False)

    @property
    def is_v(self) -> bool:
        return self.inner_model.parameterization == "v"

    def get_sigmas(self, n: int | None = None) -> torch.Tensor:
        """(n + 1,) sigmas, equidistant in t from the last training step to the first, then 0."""
        if n is None:
            sigmas = self.sigmas.flip(0)
        else:
            sigmas = self.t_to_sigma(torch.linspace(len(self.sigmas) - 1, 0, n, device=self.sigmas.device))
        return torch.cat([sigmas, sigmas.new_zeros([1])])

    def sigma_to_t(self, sigma: torch.Tensor, quantize: bool | None = None) -> torch.Tensor:
        """Training step of ``sigma``, fractional unless quantised; same shape."""
        log_sigma = sigma.log()
        dists = log_sigma - self.log_sigmas[:, None]
        if self.quantize if quantize is None else quantize:
            return dists.abs().argmin(dim=0).view(sigma.shape)
        low = dists.ge(0).cumsum(dim=0).argmax(dim=0).clamp(max=self.log_sigmas.shape[0] - 2)
        below, above = self.log_sigmas[low], self.log_sigmas[low + 1]
        w = ((below - log_sigma) / (below - above)).clamp(0, 1)
        return ((1 - w) * low + w * (low + 1)).view(sigma.shape)

    def t_to_sigma(self, t: torch.Tensor) -> torch.Tensor:
        """sigma of a training step, which may be fractional."""
        t = t.float()
        low, high = t.floor().long(), t.ceil().long()
        w = t - low
        return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp()

    def noised(self, x: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """A clean latent with noise of unit variance, as the sampling meets it at ``sigma``."""
        return x + noise * sigma

    def _predict(self, x, sigma, **kwargs):
        """The network's x0 prediction, given scaled input."""
        c_in = append_dims(1 / (sigma**2 + 1) ** 0.5, x.ndim)
        out = self.inner_model.apply_model(x * c_in, self.sigma_to_t(sigma), **kwargs)
        s = append_dims(sigma, x.ndim)
        if self.is_v:
            return out * (-s * c_in) + x * c_in**2
        return x - out * s

    def forward(self, x, sigma, **kwargs):
        return self._predict(x, sigma, **kwargs)


class FlowDenoiser(Denoiser):
    """D(x, sigma) of a rectified flow (arXiv 2209.03003): x = (1 - sigma) x0 + sigma noise, the network predicts
    noise - x0 at t = 1000 sigma. Since dx/dsigma = (x - x0) / sigma as in `DiscreteDenoiser`'s models, samplers that
    add no noise are the same; ``sigmas`` is 0.001 ... 1, shifted towards noise as the model wants it (arXiv 2403.03206,
    section 5.3.2): Flux dev more for larger pictures."""

    def __init__(self, model):
        super().__init__(model, torch.arange(1, 1001, device=model.device) / 1000)
        self.shift = 1.0
        self.for_picture(1024, 1024)

    def for_picture(self, width: int, height: int) -> None:
        self.shift = self.inner_model.flow_shift(width * height)
        self.sigmas = self.t_to_sigma(torch.arange(1, 1001, device=self.sigmas.device))

    def get_sigmas(self, n: int) -> torch.Tensor:
        """(n + 1,) sigmas, equidistant before the shift, from 1 to the smallest, then 0."""
        return torch.cat([self.t_to_sigma(torch.linspace(1000, 1, n)), torch.zeros(1)])

    def sigma_to_t(self, sigma: torch.Tensor, quantize: bool | None = None) -> torch.Tensor:
        """What the network is told, from 0 to 1000; same shape."""
        return sigma * 1000

    def t_to_sigma(self, t: torch.Tensor) -> torch.Tensor:
        """Of a place on the grid before the shift, 0 to 1000."""
        s = t / 1000
        return self.shift * s / (1 + (self.shift - 1) * s)

    def noised(self, x: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """See `DiscreteDenoiser`."""
        return (1 - sigma) * x + sigma * noise

    def forward(self, x, sigma, **kwargs):
        return x - append_dims(sigma, x.ndim) * self.inner_model.apply_model(x, self.sigma_to_t(sigma), **kwargs)


class LCMDenoiser(DiscreteDenoiser):
    """The consistency function of Latent Consistency Models (arXiv 2310.04378, eq. 9).

    Distilled on 50 of the 1000 training steps, so ``sigmas`` is (50,) and t is 19, 39, ... 999.
    """

    ORIGINAL_STEPS = 50
    TIMESTEP_SCALING = 10.0
    SIGMA_DATA = 0.5

    def __init__(self, model):
        total = len(model.alphas_cumprod)
        self_skip = total // self.ORIGINAL_STEPS
        super().__init__(model, alphas_cumprod=model.alphas_cumprod[self_skip - 1 :: self_skip])
        self.skip_steps = self_skip

    def get_sigmas(self, n: int | None = None) -> torch.Tensor:
        if n is None:
            sigmas = self.sigmas.flip(0)
        else:
            first, last = float(len(self.sigmas) * self.skip_steps - 1), float(self.skip_steps - 1)
            sigmas = self.t_to_sigma(torch.linspace(first, last, n, device=self.sigmas.device))
        return torch.cat([sigmas, sigmas.new_zeros([1])])

    def sigma_to_t(self, sigma, quantize=None):
        nearest = super().sigma_to_t(sigma, quantize=True)
        return nearest * self.skip_steps + (self.skip_steps - 1)

    def t_to_sigma(self, t):
        index = ((t - (self.skip_steps - 1)) / self.skip_steps).float()
        return super().t_to_sigma(index.clamp(0, len(self.sigmas) - 1))

    def forward(self, x, sigma, **kwargs):
        scaled = append_dims(self.sigma_to_t(sigma), x.ndim) * self.TIMESTEP_SCALING
        c_skip = self.SIGMA_DATA**2 / (scaled**2 + self.SIGMA_DATA**2)
        c_out = scaled / (scaled**2 + self.SIGMA_DATA**2) ** 0.5
        return c_out * self._predict(x, sigma, **kwargs) + c_skip * x


class TimestepsDenoiser(nn.Module):
    """eps(x_t, t) for samplers that walk over training steps (DDIM): ``timesteps`` is (B,), x_t unscaled."""

    def __init__(self, model):
        super().__init__()
        object.__setattr__(self, "inner_model", model)

    def forward(self, x, timesteps, **kwargs):
        out = self.inner_model.apply_model(x, timesteps, **kwargs)
        if self.inner_model.parameterization != "v":
            return out
        abar = append_dims(self.inner_model.alphas_cumprod[timesteps.to(torch.int64)], x.ndim)
        return abar.sqrt() * out + (1 - abar).sqrt() * x
