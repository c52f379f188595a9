"""k-diffusion's samplers (and LCM) under the WebUI's conventions."""

from __future__ import annotations

import inspect

import torch

from extras.studio import denoisers
from extras.studio import samplers as table
from extras.studio.schedulers import SCHEDULERS_MAP
from modules import sd_samplers_common, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.shared import opts


class CFGDenoiserKDiffusion(CFGDenoiser):
    @property
    def inner_model(self):
        if self.model_wrap is None:
            model = shared.sd_model
            flow = model.parameterization == "flow"
            self.model_wrap = (
                denoisers.FlowDenoiser(model)
                if flow
                else denoisers.DiscreteDenoiser(model, quantize=opts.enable_quantization)
            )
        return self.model_wrap


class CFGDenoiserLCM(CFGDenoiser):
    @property
    def inner_model(self):
        if self.model_wrap is None:
            self.model_wrap = denoisers.LCMDenoiser(shared.sd_model)
        return self.model_wrap


class KDiffusionSampler(sd_samplers_common.Sampler):
    def __init__(self, spec, sd_model=None):
        super().__init__(spec)
        lcm = spec.family == table.FAMILY_LCM
        self.model_wrap_cfg = CFGDenoiserLCM(self) if lcm else CFGDenoiserKDiffusion(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_sigmas(self, p, steps: int) -> torch.Tensor:
        """(steps + 1,) descending sigmas ending in 0, on the CPU."""
        if p.is_hr_pass:
            self.model_wrap.for_picture(p.hr_upscale_to_x, p.hr_upscale_to_y)
        elif hasattr(p, "width"):  # extensions ask for the grid of no picture, to show it
            self.model_wrap.for_picture(p.width, p.height)
        discard = self.config is not None and self.config.options.get("discard_next_to_last_sigma", False)
        if opts.always_discard_next_to_last_sigma and not discard:
            discard = True
            p.extra_generation_params["Discard penultimate sigma"] = True
        steps += 1 if discard else 0
        name = (p.hr_scheduler if p.is_hr_pass else p.scheduler) or "Automatic"
        if name == "Automatic":
            name = self.config.options.get("scheduler")
        scheduler = SCHEDULERS_MAP.get(name)
        if p.sampler_noise_scheduler_override:
            sigmas = p.sampler_noise_scheduler_override(steps)
        elif scheduler is None or scheduler.function is None:
            sigmas = self.model_wrap.get_sigmas(steps)
        else:
            sigmas = scheduler.function(n=steps, **self._schedule_args(p, scheduler), device="cpu")
        if discard:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        return sigmas.cpu()

    def _schedule_args(self, p, scheduler) -> dict:
        extra = p.extra_generation_params
        if scheduler.label != "Automatic" and not p.is_hr_pass:
            extra["Schedule type"] = scheduler.label
        elif scheduler.label != extra.get("Schedule type"):
            extra["Hires schedule type"] = scheduler.label
        lowest, highest = self.model_wrap.sigmas[0].item(), self.model_wrap.sigmas[-1].item()
        args = {"sigma_min": lowest, "sigma_max": highest}
        if opts.use_old_karras_scheduler_sigmas:
            args = {"sigma_min": 0.1, "sigma_max": 10.0}
        if opts.sigma_min not in (0, lowest):
            args["sigma_min"] = extra["Schedule min sigma"] = opts.sigma_min
        if opts.sigma_max not in (0, highest):
            args["sigma_max"] = extra["Schedule max sigma"] = opts.sigma_max
        if scheduler.default_rho != -1 and opts.rho not in (0, scheduler.default_rho):
            args["rho"] = extra["Schedule rho"] = opts.rho
        if scheduler.need_inner_model:
            args["inner_model"] = self.model_wrap
        return args

    def _func_args(self, p, x, sigmas, given: dict) -> dict:
        """Of the arguments in ``given``, those that the algorithm takes; and its Brownian noise."""
        kwargs = self.initialize(p)
        accepted = inspect.signature(self.func).parameters
        kwargs.update({k: v for k, v in given.items() if k in accepted})
        if self.config.options.get("brownian_noise", False):
            kwargs["noise_sampler"] = self.create_noise_sampler(x, sigmas, p)
        if self.config.options.get("solver_type") == "heun":
            kwargs["solver_type"] = "heun"
        return kwargs

    def _run(self, steps, x, extra_args, kwargs):
        result = self.launch_sampling(
            steps,
            lambda: self.func(
                self.model_wrap_cfg, x, extra_args=extra_args, disable=True, callback=self.callback_state, **kwargs
            ),
        )
        self.add_infotext(self.p)
        return result

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        """From noise ``x`` (B, 4, h, w) of unit variance."""
        steps = steps or p.steps
        sigmas = self.get_sigmas(p, steps).to(x.device)
        if opts.sgm_noise_multiplier and p.sd_model.parameterization != "flow":
            p.extra_generation_params["SGM noise multiplier"] = True
            x = x * torch.sqrt(1.0 + sigmas[0] ** 2.0)
        else:
            x = x * sigmas[0]
        kwargs = self._func_args(
            p,
            x,
            sigmas,
            {
                "n": steps,
                "sigma_min": self.model_wrap.sigmas[0].item(),
                "sigma_max": self.model_wrap.sigmas[-1].item(),
                "sigmas": sigmas,
            },
        )
        self.last_latent = x
        return self._run(
            steps, x, self.extra_args(p, conditioning, unconditional_conditioning, image_conditioning), kwargs
        )

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        """From the latent ``x`` with ``noise`` added to the level of the t_enc-th step from the end."""
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        sigmas = self.get_sigmas(p, steps).to(x.device)
        sched = sigmas[max(steps - t_enc - 1, 0) :]
        xi = self.add_extra_noise(p, x, noise, self.model_wrap.noised(x, noise, sched[0]))
        kwargs = self._func_args(
            p, x, sigmas, {"n": len(sched) - 1, "sigma_min": sched[-2], "sigma_max": sched[0], "sigmas": sched}
        )
        self.model_wrap_cfg.init_latent = x
        self.last_latent = x
        return self._run(
            t_enc + 1, xi, self.extra_args(p, conditioning, unconditional_conditioning, image_conditioning), kwargs
        )
