"""img2img and inpainting. Import from `modules.processing`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

from modules import devices, images, masking, sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing, create_random_tensors, opt_f
from modules.sd_hijack import model_hijack
from modules.sd_samplers_common import images_tensor_to_samples
from modules.shared import opts


def create_binary_mask(image: Image.Image, round: bool = True) -> Image.Image:
    """Greyscale; of a picture with transparency its alpha, made black and white when ``round``."""
    if image.mode == "RGBA" and image.getextrema()[-1] != (255, 255):
        alpha = image.split()[-1].convert("L")
        return alpha.point(lambda x: 255 if x > 128 else 0) if round else alpha
    return image.convert("L")


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    """`init_images` are PIL pictures. With a `mask` (white is repainted) it is inpainting; `inpainting_fill` is
    0 fill, 1 original, 2 latent noise, 3 latent nothing."""

    init_images: list = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: float = None
    mask: Any = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_blur: int = None
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float = None
    latent_mask: Any = None
    force_task_id: str = None

    image_mask: Any = field(default=None, init=False)
    nmask: torch.Tensor = field(default=None, init=False)
    image_conditioning: torch.Tensor = field(default=None, init=False)
    init_img_hash: str = field(default=None, init=False)
    mask_for_overlay: Any = field(default=None, init=False)
    init_latent: torch.Tensor = field(default=None, init=False)

    def __post_init__(self):
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = opts.initial_noise_multiplier

    @property
    def mask_blur(self):  # noqa: F811
        return self.mask_blur_x if self.mask_blur_x == self.mask_blur_y else None

    @mask_blur.setter
    def mask_blur(self, value):
        if isinstance(value, int):
            self.mask_blur_x = self.mask_blur_y = value

    def _prepare_mask(self):
        """(mask of the picture that is denoised or None, crop region of "only masked" or None)."""
        if self.image_mask is None:
            return None, None
        extra = self.extra_generation_params
        mask = create_binary_mask(self.image_mask, round=self.mask_round)
        if self.inpainting_mask_invert:
            mask = ImageOps.invert(mask)
            extra["Mask mode"] = "Inpaint not masked"
        if self.mask_blur_x > 0 or self.mask_blur_y > 0:
            mask = mask.filter(ImageFilter.GaussianBlur((max(self.mask_blur_x, 0), max(self.mask_blur_y, 0))))
            extra["Mask blur"] = self.mask_blur
        self.overlay_images = []
        if not self.inpaint_full_res:
            mask = images.resize_image(self.resize_mode if self.resize_mode != 3 else 0, mask, self.width, self.height)
            self.mask_for_overlay = mask.point(lambda v: min(v * 2, 255))
            return mask, None
        self.mask_for_overlay = mask
        region = masking.get_crop_region_v2(mask, self.inpaint_full_res_padding)
        if not region:
            self.mask_for_overlay = self.overlay_images = None
            model_hijack.comments.append("The inpaint mask is blank: plain img2img was done.")
            self.inpaint_full_res = False
            return None, None
        region = masking.expand_crop_region(region, self.width, self.height, mask.width, mask.height)
        x1, y1, x2, y2 = region
        self.paste_to = (x1, y1, x2 - x1, y2 - y1)
        extra["Inpaint area"], extra["Masked area padding"] = "Only masked", self.inpaint_full_res_padding
        return images.resize_image(2, mask.crop(region), self.width, self.height), region

    def _prepare_image(self, img, mask, region, latent_mask) -> np.ndarray:
        """(3, height, width) in [0, 1]; also collects the overlay of inpainting."""
        image = images.flatten(img, opts.img2img_background_color)
        if region is None and self.resize_mode != 3:
            image = images.resize_image(self.resize_mode, image, self.width, self.height)
        if mask is not None:
            if self.mask_for_overlay.size != image.size:
                self.mask_for_overlay = images.resize_image(0, self.mask_for_overlay, image.width, image.height)
            masked = Image.new("RGBa", image.size)
            masked.paste(
                image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(self.mask_for_overlay.convert("L"))
            )
            self.overlay_images.append(masked.convert("RGBA"))
        if region is not None:
            image = images.resize_image(2, image.crop(region), self.width, self.height)
        if mask is not None and self.inpainting_fill != 1:
            image = masking.fill(image, latent_mask)
            if self.inpainting_fill == 0:
                self.extra_generation_params["Masked content"] = "fill"
        return np.moveaxis(np.asarray(image, dtype=np.float32) / 255.0, 2, 0)

    def init(self, all_prompts, all_seeds, all_subseeds):
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.image_cfg_scale = None
        if not self.init_images or any(img is None for img in self.init_images):
            raise ValueError("init_images: img2img needs at least one picture")
        mask, region = self._prepare_mask()
        latent_mask = self.latent_mask if self.latent_mask is not None else mask
        arrays = [self._prepare_image(img, mask, region, latent_mask) for img in self.init_images]
        if len(arrays) == 1:
            batch = np.repeat(arrays[0][None], self.batch_size, axis=0)
            if self.overlay_images is not None:
                self.overlay_images = self.overlay_images * self.batch_size
        elif len(arrays) <= self.batch_size:
            self.batch_size = len(arrays)
            batch = np.array(arrays)
        else:
            raise ValueError(f"init_images: {len(arrays)} pictures for a batch of {self.batch_size}")
        image = torch.from_numpy(batch).to(devices.device)
        self.init_latent = images_tensor_to_samples(image, model=self.sd_model)
        if self.resize_mode == 3:
            self.init_latent = torch.nn.functional.interpolate(
                self.init_latent, size=(self.height // opt_f, self.width // opt_f), mode="bilinear"
            )
        if mask is not None:
            self._mask_latent(latent_mask, all_seeds)
        self.image_conditioning = self.img2img_image_conditioning(
            image * 2 - 1, self.init_latent, mask, self.mask_round
        )

    def _mask_latent(self, latent_mask, all_seeds):
        """`nmask` (repainted) and `mask` (kept), and latent noise or nothing under the mask."""
        _, c, h, w = self.init_latent.shape
        grey = np.asarray(latent_mask.convert("L").resize((w, h)), dtype=np.float32) / 255
        grey = np.tile((np.around(grey) if self.mask_round else grey)[None], (c, 1, 1))
        self.nmask = torch.from_numpy(grey).to(devices.device)
        self.mask = 1.0 - self.nmask
        if self.inpainting_fill == 2:
            noise = create_random_tensors(self.init_latent.shape[1:], all_seeds[0 : self.init_latent.shape[0]])
            self.init_latent = self.init_latent * self.mask + noise * self.nmask
            self.extra_generation_params["Masked content"] = "latent noise"
        elif self.inpainting_fill == 3:
            self.init_latent = self.init_latent * self.mask
            self.extra_generation_params["Masked content"] = "latent nothing"

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        if self.initial_noise_multiplier != 1.0:
            self.extra_generation_params["Noise multiplier"] = self.initial_noise_multiplier
            x = x * self.initial_noise_multiplier
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(
                p=self, x=self.init_latent, noise=x, c=conditioning, uc=unconditional_conditioning
            )
        samples = self.sampler.sample_img2img(
            self,
            self.init_latent,
            x,
            conditioning,
            unconditional_conditioning,
            image_conditioning=self.image_conditioning,
        )
        if self.mask is None:
            return samples
        blended = samples * self.nmask + self.init_latent * self.mask
        if self.scripts is not None:
            from modules import scripts

            args = scripts.MaskBlendArgs(samples, self.nmask, self.init_latent, self.mask, blended)
            self.scripts.on_mask_blend(self, args)
            blended = args.blended_latent
        return blended


__all__ = ["StableDiffusionProcessingImg2Img", "create_binary_mask", "shared"]
