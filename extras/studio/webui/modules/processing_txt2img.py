"""txt2img, and its optional second pass at a higher resolution. Import from `modules.processing`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from extras.studio.fields import FieldError
from modules import devices, extra_networks, images, prompt_parser, rng, sd_models, sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing, opt_f
from modules.shared import opts, state

_SAME = (None, "", "Use same sampler", "Use same scheduler", "Use same checkpoint")


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    """`enable_hr` adds the hires pass: the latent (or the picture) enlarged, then denoised again from
    `denoising_strength`."""

    enable_hr: bool = False
    denoising_strength: float = 0.75
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: float = 2.0
    hr_upscaler: str = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str = None
    hr_sampler_name: str = None
    hr_scheduler: str = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    force_task_id: str = None

    cached_hr_uc = [None, None]  # noqa: RUF012
    cached_hr_c = [None, None]  # noqa: RUF012

    hr_checkpoint_info: Any = field(default=None, init=False)
    hr_upscale_to_x: int = field(default=0, init=False)
    hr_upscale_to_y: int = field(default=0, init=False)
    truncate_x: int = field(default=0, init=False)
    truncate_y: int = field(default=0, init=False)
    latent_scale_mode: dict = field(default=None, init=False)
    hr_c: Any = field(default=None, init=False)
    hr_uc: Any = field(default=None, init=False)
    all_hr_prompts: list = field(default=None, init=False)
    all_hr_negative_prompts: list = field(default=None, init=False)
    hr_prompts: list = field(default=None, init=False)
    hr_negative_prompts: list = field(default=None, init=False)
    hr_extra_network_data: list = field(default=None, init=False)

    def __post_init__(self):
        super().__post_init__()
        if self.firstphase_width or self.firstphase_height:
            self.hr_upscale_to_x, self.hr_upscale_to_y = self.width, self.height
            self.width, self.height = self.firstphase_width, self.firstphase_height
        self.cached_hr_uc = StableDiffusionProcessingTxt2Img.cached_hr_uc
        self.cached_hr_c = StableDiffusionProcessingTxt2Img.cached_hr_c

    def calculate_target_resolution(self):
        """`hr_scale` times, or to `hr_resize_x` x `hr_resize_y`: enlarged to cover it and cropped."""
        self.truncate_x = self.truncate_y = 0
        x, y = self.hr_resize_x, self.hr_resize_y
        if x == 0 and y == 0:
            self.extra_generation_params["Hires upscale"] = self.hr_scale
            self.hr_upscale_to_x, self.hr_upscale_to_y = (
                int(self.width * self.hr_scale),
                int(self.height * self.hr_scale),
            )
            return
        self.extra_generation_params["Hires resize"] = f"{x}x{y}"
        by_width = y == 0 or (x != 0 and self.width / self.height < x / y)
        if by_width:
            self.hr_upscale_to_x, self.hr_upscale_to_y = x, x * self.height // self.width
        else:
            self.hr_upscale_to_x, self.hr_upscale_to_y = y * self.width // self.height, y
        if x and y:
            self.truncate_x = (self.hr_upscale_to_x - x) // opt_f
            self.truncate_y = (self.hr_upscale_to_y - y) // opt_f

    def init(self, all_prompts, all_seeds, all_subseeds):
        if not self.enable_hr:
            return
        extra = self.extra_generation_params
        extra["Denoising strength"] = self.denoising_strength
        if self.hr_checkpoint_name not in _SAME:
            self.hr_checkpoint_info = sd_models.get_closet_checkpoint_match(self.hr_checkpoint_name)
            if self.hr_checkpoint_info is None:
                raise FieldError(
                    "hr_checkpoint_name", self.hr_checkpoint_name, "one of " + ", ".join(sd_models.checkpoint_tiles())
                )
            extra["Hires checkpoint"] = self.hr_checkpoint_info.short_title
        if self.hr_sampler_name in _SAME:
            self.hr_sampler_name = None
        if self.hr_scheduler in _SAME:
            self.hr_scheduler = None
        if self.hr_sampler_name is not None or self.hr_scheduler is not None:
            name, label = sd_samplers.split_sampler_and_scheduler(
                self.hr_sampler_name or self.sampler_name, self.hr_scheduler or self.scheduler
            )
            self.hr_sampler_name = name if self.hr_sampler_name is not None else None
            self.hr_scheduler = label if self.hr_scheduler is not None else None
        if self.hr_sampler_name is not None and self.hr_sampler_name != self.sampler_name:
            extra["Hires sampler"] = self.hr_sampler_name

        def get_hr_prompt(p, index, prompt_text, **kwargs):
            return p.all_hr_prompts[index] if p.all_hr_prompts[index] != prompt_text else None

        def get_hr_negative_prompt(p, index, negative_prompt, **kwargs):
            return p.all_hr_negative_prompts[index] if p.all_hr_negative_prompts[index] != negative_prompt else None

        extra["Hires prompt"], extra["Hires negative prompt"] = get_hr_prompt, get_hr_negative_prompt
        extra["Hires schedule type"] = None
        if self.hr_scheduler is None:
            self.hr_scheduler = self.scheduler
        self._find_upscaler()
        self.calculate_target_resolution()
        if not state.processing_has_refined_job_count:
            state.job_count = (self.n_iter if state.job_count == -1 else state.job_count) * 2
            state.processing_has_refined_job_count = True
        if self.hr_second_pass_steps:
            extra["Hires steps"] = self.hr_second_pass_steps
        if self.hr_upscaler is not None:
            extra["Hires upscaler"] = self.hr_upscaler

    def _find_upscaler(self):
        modes = shared.latent_upscale_modes
        name = self.hr_upscaler if self.hr_upscaler is not None else shared.latent_upscale_default_mode
        self.latent_scale_mode = modes.get(name)
        pixel = [u.name for u in shared.sd_upscalers]
        if self.latent_scale_mode is None and name not in pixel:
            raise FieldError("hr_upscaler", name, "one of " + ", ".join([*modes, *pixel]))

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(
                p=self, x=x, noise=x, c=conditioning, uc=unconditional_conditioning
            )
        samples = self.sampler.sample(
            self, x, conditioning, unconditional_conditioning, image_conditioning=self.txt2img_image_conditioning(x)
        )
        if not self.enable_hr:
            return samples
        if self.hr_checkpoint_info is not None:
            if self.latent_scale_mode is None:
                samples = self._enlarged_pictures(samples)  # decoded by the model that made them
            with sd_models.SkipWritingToConfig():
                sd_models.reload_model_weights(info=self.hr_checkpoint_info)
        return self.sample_hr_pass(samples)

    def _enlarged_pictures(self, samples) -> torch.Tensor:
        """Decoded, enlarged with the pixel upscaler: (B, 3, H', W') in [0, 1]."""
        from modules.processing import decode_latent_batch

        pictures = []
        for x in decode_latent_batch(self.sd_model, samples, target_device=devices.cpu, check_for_nans=True):
            array = (255.0 * np.moveaxis(((x + 1) / 2).clamp(0, 1).float().numpy(), 0, 2)).astype(np.uint8)
            image = images.resize_image(
                0, Image.fromarray(array), self.hr_upscale_to_x, self.hr_upscale_to_y, upscaler_name=self.hr_upscaler
            )
            pictures.append(torch.from_numpy(np.moveaxis(np.asarray(image, dtype=np.float32) / 255.0, 2, 0)))
        return torch.stack(pictures)

    def _upscaled(self, samples) -> torch.Tensor:
        """The latent of the second pass, before it is cropped to the wanted size."""
        from modules.sd_samplers_common import images_tensor_to_samples

        if self.latent_scale_mode is None:
            pictures = samples if samples.shape[1] == 3 else self._enlarged_pictures(samples)
            return images_tensor_to_samples(pictures)
        size = (self.hr_upscale_to_y // opt_f, self.hr_upscale_to_x // opt_f)
        mode = self.latent_scale_mode
        return torch.nn.functional.interpolate(samples, size=size, mode=mode["mode"], antialias=mode["antialias"])

    def sample_hr_pass(self, samples):
        """The second pass; returns decoded pictures. After an interrupt, the first pass's latents."""
        from modules.processing import decode_latent_batch

        if state.interrupted:
            return samples
        self.is_hr_pass = True
        try:
            self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
            samples = self._upscaled(samples)
            state.nextjob()
            ty, tx = self.truncate_y, self.truncate_x
            samples = samples[
                :, :, ty // 2 : samples.shape[2] - (ty + 1) // 2, tx // 2 : samples.shape[3] - (tx + 1) // 2
            ]
            conditioning = self.img2img_image_conditioning(None, samples)
            self.rng = rng.ImageRNG(
                samples.shape[1:],
                self.seeds,
                subseeds=self.subseeds,
                subseed_strength=self.subseed_strength,
                seed_resize_from_h=self.seed_resize_from_h,
                seed_resize_from_w=self.seed_resize_from_w,
            )
            noise = self.rng.next()
            if not self.disable_extra_networks:
                extra_networks.activate(self, self.hr_extra_network_data)
            self.calculate_hr_conds()
            if self.scripts is not None:
                self.scripts.before_hr(self)
                self.scripts.process_before_every_sampling(p=self, x=samples, noise=noise, c=self.hr_c, uc=self.hr_uc)
            samples = self.sampler.sample_img2img(
                self,
                samples,
                noise,
                self.hr_c,
                self.hr_uc,
                steps=self.hr_second_pass_steps or self.steps,
                image_conditioning=conditioning,
            )
            self.sampler = None
            return decode_latent_batch(self.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
        finally:
            self.is_hr_pass = False

    def close(self):
        super().close()
        self.hr_c = self.hr_uc = None
        if not opts.persistent_cond_cache:
            StableDiffusionProcessingTxt2Img.cached_hr_uc = [None, None]
            StableDiffusionProcessingTxt2Img.cached_hr_c = [None, None]

    def setup_prompts(self):
        super().setup_prompts()
        if not self.enable_hr:
            return
        count, styles = len(self.all_prompts), shared.prompt_styles
        hr = self.hr_prompt or self.prompt
        hr_negative = self.hr_negative_prompt or self.negative_prompt
        self.all_hr_prompts = [
            styles.apply_styles_to_prompt(x, self.styles) for x in (hr if isinstance(hr, list) else [hr] * count)
        ]
        self.all_hr_negative_prompts = [
            styles.apply_negative_styles_to_prompt(x, self.styles)
            for x in (hr_negative if isinstance(hr_negative, list) else [hr_negative] * count)
        ]

    def calculate_hr_conds(self):
        if self.hr_c is not None:
            return
        size = {"width": self.hr_upscale_to_x, "height": self.hr_upscale_to_y}
        prompts = prompt_parser.SdConditioning(self.hr_prompts, **size)
        negatives = prompt_parser.SdConditioning(self.hr_negative_prompts, **size, is_negative_prompt=True)
        config = sd_samplers.find_sampler_config(self.hr_sampler_name or self.sampler_name)
        steps = self.hr_second_pass_steps or self.steps
        total = config.total_steps(steps) if config else steps
        self.hr_uc = self.get_conds_with_caching(
            prompt_parser.get_learned_conditioning,
            negatives,
            self.firstpass_steps,
            [self.cached_hr_uc, self.cached_uc],
            self.hr_extra_network_data,
            total,
        )
        self.hr_c = self.get_conds_with_caching(
            prompt_parser.get_multicond_learned_conditioning,
            prompts,
            self.firstpass_steps,
            [self.cached_hr_c, self.cached_c],
            self.hr_extra_network_data,
            total,
        )

    def setup_conds(self):
        if self.is_hr_pass:
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = self.hr_c = None
        if self.enable_hr and self.hr_checkpoint_info is None and opts.hires_fix_use_firstpass_conds:
            self.calculate_hr_conds()

    def get_conds(self):
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()

    def parse_extra_network_prompts(self):
        super().parse_extra_network_prompts()
        if self.enable_hr:
            at = slice(self.iteration * self.batch_size, (self.iteration + 1) * self.batch_size)
            self.hr_negative_prompts = self.all_hr_negative_prompts[at]
            self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.all_hr_prompts[at])
