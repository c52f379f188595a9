"""Samplers that walk over training steps: DDIM. For them ``sigma`` in callbacks *is* the timestep."""

from __future__ import annotations

import inspect

import torch

from extras.studio import denoisers
from modules import devices, sd_samplers_common, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser


class CFGDenoiserTimesteps(CFGDenoiser):
    def __init__(self, sampler):
        super().__init__(sampler)
        self.alphas = shared.sd_model.alphas_cumprod
        self.mask_before_denoising = True

    def get_pred_x0(self, x_in, x_out, sigma):
        a_t = self.alphas[sigma.to(dtype=torch.int64)][:, None, None, None]
        return (x_in - (1 - a_t).sqrt() * x_out) / a_t.sqrt()

    @property
    def inner_model(self):
        if self.model_wrap is None:
            self.model_wrap = denoisers.TimestepsDenoiser(shared.sd_model)
        return self.model_wrap


class CompVisSampler(sd_samplers_common.Sampler):
    eta_option_field, eta_infotext_field, eta_default = "eta_ddim", "Eta DDIM", 0.0

    def __init__(self, spec, sd_model=None):
        super().__init__(spec)
        self.model_wrap_cfg = CFGDenoiserTimesteps(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_timesteps(self, p, steps: int) -> torch.Tensor:
        """Ascending: 1, 1 + 1000 // steps, ... The first is the end of the walk, not a call."""
        if steps < 2:
            p.comment(f"{self.config.name} makes one model call fewer than it has steps: with {steps} it makes none.")
        return torch.clip(torch.arange(0, 1000, 1000 // max(steps, 1), device=devices.device) + 1, 0, 999)

    def _run(self, p, steps, x, timesteps, cond, uncond, image_cond):
        kwargs = self.initialize(p)
        if "timesteps" in inspect.signature(self.func).parameters:
            kwargs["timesteps"] = timesteps
        extra = self.extra_args(p, cond, uncond, image_cond)
        result = self.launch_sampling(
            steps,
            lambda: self.func(
                self.model_wrap_cfg, x, extra_args=extra, disable=True, callback=self.callback_state, **kwargs
            ),
        )
        self.add_infotext(p)
        return result

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        steps = steps or p.steps
        self.last_latent = x
        return self._run(
            p, steps, x, self.get_timesteps(p, steps), conditioning, unconditional_conditioning, image_conditioning
        )

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        timesteps = self.get_timesteps(p, steps)
        t_enc = min(t_enc, len(timesteps) - 1)
        abar = shared.sd_model.alphas_cumprod[timesteps[t_enc]]
        xi = self.add_extra_noise(p, x, noise, x * abar.sqrt() + noise * (1 - abar).sqrt(), abar.sqrt())
        self.model_wrap_cfg.init_latent = x
        self.last_latent = x
        return self._run(
            p, t_enc + 1, xi, timesteps[:t_enc], conditioning, unconditional_conditioning, image_conditioning
        )


VanillaStableDiffusionSampler = CompVisSampler
