"""What all samplers share: latents to pictures and back, steps of img2img, the base class."""

from __future__ import annotations

import inspect
from collections import namedtuple

import numpy as np
import torch
from PIL import Image

from modules import devices, shared
from modules.shared import opts, state

SamplerDataTuple = namedtuple("SamplerData", ["name", "constructor", "aliases", "options"])
approximation_indexes = {"Full": 0, "Approx NN": 1, "Approx cheap": 2, "TAESD": 3}


class SamplerData(SamplerDataTuple):
    def total_steps(self, steps: int) -> int:
        """Expected model calls: twice the steps for second-order samplers (they make one fewer)."""
        return steps * 2 if self.options.get("second_order", False) else steps


class InterruptedException(BaseException):
    """Ends sampling from inside a model call; not an Exception, so no script can swallow it."""


def setup_img2img_steps(p, steps=None) -> tuple[int, int]:
    """(steps of the schedule, t_enc): img2img runs the last t_enc + 1 of them.

    By default t_enc = denoising strength * steps. With "exactly the amount of steps" (always in the hires
    pass) the schedule is made longer so that the wanted number remains.
    """
    strength = min(p.denoising_strength, 0.999)
    if opts.img2img_fix_steps or steps is not None:
        wanted = steps or p.steps
        return (int(wanted / strength) if p.denoising_strength > 0 else 0), wanted - 1
    return p.steps, int(strength * p.steps)


def decode_first_stage(model, x: torch.Tensor) -> torch.Tensor:
    """Latents (B, 4, h, w) to pictures (B, 3, 8h, 8w) in [-1, 1]."""
    with torch.no_grad():
        return model.decode_first_stage(x.to(model.dtype))


samples_to_images_tensor_model = decode_first_stage


def samples_to_images_tensor(sample, approximation=None, model=None):
    return decode_first_stage(model or shared.sd_model, sample)


def images_tensor_to_samples(image: torch.Tensor, approximation=None, model=None) -> torch.Tensor:
    """Pictures (B, 3, H, W) in [0, 1] to latents, one at a time."""
    model = model or shared.sd_model
    image = image.to(devices.device, dtype=model.dtype) * 2 - 1
    return torch.cat([model.get_first_stage_encoding(model.encode_first_stage(img.unsqueeze(0))) for img in image])


def _to_pil(x: torch.Tensor) -> Image.Image:
    """(3, H, W) in [0, 1]."""
    return Image.fromarray((255.0 * np.moveaxis(x.clamp(0, 1).float().cpu().numpy(), 0, 2)).astype(np.uint8))


def single_sample_to_image(sample, approximation=None) -> Image.Image:
    return _to_pil(decode_first_stage(shared.sd_model, sample.unsqueeze(0))[0] * 0.5 + 0.5)


def sample_to_image(samples, index=0, approximation=None) -> Image.Image:
    return single_sample_to_image(samples[index], approximation)


def samples_to_image_grid(samples, approximation=None):
    from modules import images

    return images.image_grid([single_sample_to_image(sample, approximation) for sample in samples])


def preview_image(latent: torch.Tensor) -> Image.Image:
    """A quick look at (B, 4, h, w): three latent channels as colours, or decoded with the setting "Full"."""
    if opts.show_progress_type == "Full":
        return sample_to_image(latent)
    x = latent[0, :3].float()
    low, high = x.amin(dim=(1, 2), keepdim=True), x.amax(dim=(1, 2), keepdim=True)
    image = _to_pil((x - low) / (high - low).clamp(min=1e-6))
    return image.resize((image.width * 8, image.height * 8), Image.Resampling.NEAREST)


def store_latent(decoded) -> None:
    state.current_latent = decoded


def is_sampler_using_eta_noise_seed_delta(p) -> bool:
    from modules import sd_samplers

    config = sd_samplers.find_sampler_config(p.sampler_name)
    if config is None:
        return False
    eta = p.eta if p.eta is not None else getattr(p.sampler, "eta", None)
    return eta != 0 and config.options.get("uses_ensd", False)


def apply_refiner(cfg_denoiser, sigma=None) -> bool:
    """Go on with the refiner's checkpoint once so much of the sampling is done; True at the switch."""
    p = cfg_denoiser.p
    info, switch_at = p.refiner_checkpoint_info, p.refiner_switch_at
    if info is None or switch_at is None or shared.sd_model.sd_checkpoint_info.filename == info.filename:
        return False
    if opts.refiner_switch_by_sample_steps or sigma is None:
        done = cfg_denoiser.step / cfg_denoiser.total_steps
    else:
        done = (999 - float(_timestep(cfg_denoiser.inner_model, sigma.max()))) / 1000
    if done < switch_at:
        return False
    wanted = opts.hires_fix_refiner_pass
    if getattr(p, "enable_hr", False) and wanted != "both passes" and p.is_hr_pass != (wanted == "second pass"):
        return False
    from modules import sd_models

    p.extra_generation_params["Refiner"] = info.short_title
    p.extra_generation_params["Refiner switch at"] = switch_at
    with sd_models.SkipWritingToConfig():
        sd_models.reload_model_weights(info=info)
    p.setup_conds()
    cfg_denoiser.update_inner_model()
    return True


def _timestep(inner_model, sigma):
    """Of the nearest sigma the model was trained on; timesteps samplers give the timestep itself."""
    known = getattr(inner_model, "sigmas", None)
    return sigma if known is None else torch.argmin((known - sigma).abs())


class Sampler:
    """One sampling pass over one batch. ``func`` is the algorithm, ``model_wrap_cfg`` the CFG denoiser."""

    eta_option_field, eta_infotext_field, eta_default = "eta_ancestral", "Eta", 1.0

    def __init__(self, spec):
        self.spec = spec
        self.func = spec.function
        self.funcname = spec.function.__name__
        self.extra_params = list(spec.extra_params)
        self.options: dict = {}
        self.config: SamplerData | None = None
        self.stop_at = self.eta = self.last_latent = self.s_min_uncond = None
        self.s_churn, self.s_tmin, self.s_tmax, self.s_noise = 0.0, 0.0, float("inf"), 1.0
        self.conditioning_key = getattr(shared.sd_model.model, "conditioning_key", "crossattn")
        self.p = self.model_wrap_cfg = self.model_wrap = self.sampler_extra_args = None

    def callback_state(self, d) -> None:
        if self.stop_at is not None and d["i"] > self.stop_at:
            raise InterruptedException
        state.sampling_step = d["i"]
        shared.total_tqdm.update()

    def launch_sampling(self, steps: int, func):
        """Run ``func``; interrupted sampling returns the last clean prediction."""
        from extras.studio.kdiffusion import noise_from

        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state.sampling_steps = steps
        state.sampling_step = 0
        try:
            with noise_from(self.p.rng.next):
                return func()
        except (InterruptedException, RecursionError):
            return self.last_latent

    def number_of_needed_noises(self, p) -> int:
        return p.steps

    def initialize(self, p) -> dict:
        """Tie the sampler to ``p``; returns the settings that the algorithm takes as arguments."""
        self.p = p
        cfg = self.model_wrap_cfg
        cfg.p, cfg.step = p, 0
        cfg.mask, cfg.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        cfg.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.eta = p.eta if p.eta is not None else getattr(opts, self.eta_option_field, 0.0)
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)
        accepted = inspect.signature(self.func).parameters
        kwargs: dict = {}
        if "eta" in accepted:
            if self.eta != self.eta_default:
                p.extra_generation_params[self.eta_infotext_field] = self.eta
            kwargs["eta"] = self.eta
        for name, label in (
            ("s_churn", "Sigma churn"),
            ("s_tmin", "Sigma tmin"),
            ("s_tmax", "Sigma tmax"),
            ("s_noise", "Sigma noise"),
        ):
            if name not in self.extra_params or name not in accepted:
                continue
            value = getattr(p, name)
            kwargs[name] = value
            if value != getattr(self, name):
                p.extra_generation_params[label] = value
        return kwargs

    def create_noise_sampler(self, x, sigmas, p):
        """For the SDE samplers: Brownian noise from each image's own seed, whatever the batch size."""
        if opts.no_dpmpp_sde_batch_determinism:
            return None
        from extras.studio.kdiffusion import sampling

        seeds = p.all_seeds[p.iteration * p.batch_size : (p.iteration + 1) * p.batch_size]
        return sampling.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=seeds)

    def extra_args(self, p, conditioning, unconditional_conditioning, image_conditioning) -> dict:
        self.sampler_extra_args = {
            "cond": conditioning,
            "image_cond": image_conditioning,
            "uncond": unconditional_conditioning,
            "cond_scale": p.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
        }
        return self.sampler_extra_args

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        raise NotImplementedError

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        raise NotImplementedError

    def add_infotext(self, p) -> None:
        if self.model_wrap_cfg.padded_cond_uncond:
            p.extra_generation_params["Pad conds"] = True
        if self.model_wrap_cfg.padded_cond_uncond_v0:
            p.extra_generation_params["Pad conds v0"] = True

    def add_extra_noise(self, p, x, noise, xi, scale=1.0):
        """The setting "extra noise" of img2img, with its callback."""
        from modules.script_callbacks import ExtraNoiseParams, extra_noise_callback

        if opts.img2img_extra_noise > 0:
            p.extra_generation_params["Extra noise"] = opts.img2img_extra_noise
            params = ExtraNoiseParams(noise, x, xi)
            extra_noise_callback(params)
            xi = xi + params.noise * opts.img2img_extra_noise * scale
        return xi
