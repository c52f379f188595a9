"""The loaded model, in the shape that extensions of A1111 expect of `shared.sd_model`."""

from __future__ import annotations

import contextlib

import torch
from torch import nn


class DiffusionWrapper(nn.Module):
    """The outermost module of the network: called once per UNet call, with keyword conditionings.

    Inside is diffusers' UNet2DConditionModel, which may be replaced or wrapped.
    """

    def __init__(self, diffusion_model, conditioning_key: str = "crossattn"):
        super().__init__()
        self.diffusion_model = diffusion_model
        self.conditioning_key = conditioning_key

    def forward(self, x, t, c_concat=None, c_crossattn=None, c_adm=None):
        """x (rows, 4, h, w), t (rows,), c_crossattn a list of (rows, T, C) joined on C-last tokens."""
        context = torch.cat(c_crossattn, 1)
        return self.diffusion_model(x, t, encoder_hidden_states=context).sample


class DiffusionWrapperXL(DiffusionWrapper):
    """SDXL's: one dict with ``crossattn`` (rows, T, 2048) and ``vector`` (rows, 2816); the refiner's 1280 and 2560."""

    def __init__(self, diffusion_model):
        super().__init__(diffusion_model)
        # diffusers builds the vector from six numbers; here it arrives complete
        diffusion_model.get_aug_embed = lambda emb, encoder_hidden_states, added_cond_kwargs: (
            diffusion_model.add_embedding(added_cond_kwargs["vector"].to(emb.dtype))
        )

    def forward(self, x, t, c):
        return self.diffusion_model(
            x, t, encoder_hidden_states=c["crossattn"], added_cond_kwargs={"vector": c["vector"]}
        ).sample


class LatentDistribution:
    """What `encode_first_stage` returns: the distribution of a picture's latent."""

    def __init__(self, posterior):
        self.posterior = posterior

    def mode(self):
        return self.posterior.mode()

    def sample(self):
        return self.posterior.sample()


class StudioModel(nn.Module):
    """UNet, VAE and text encoder of one checkpoint. ``network``: around the UNet, where the family has its own.

    Latents are (B, latent_channels, H/8, W/8), pictures (B, 3, H, W) in [-1, 1].
    """

    def __init__(self, architecture, unet, vae, alphas_cumprod: torch.Tensor, network: DiffusionWrapper | None = None):
        super().__init__()
        self.architecture = architecture
        self.is_sdxl = architecture.family in ("sdxl", "refiner")
        self.is_sd1, self.is_sd2 = architecture.family == "sd1", architecture.family == "sd2"
        self.is_sd3 = architecture.family == "sd3"
        self.is_ssd = self.is_sdxl_inpaint = self.lowvram = False
        self.model = network or (DiffusionWrapperXL(unet) if self.is_sdxl else DiffusionWrapper(unet))
        self.first_stage_model = vae
        self.cond_stage_model: nn.Module | None = None
        self.cond_stage_model_empty_prompt = None
        self.cond_stage_key = "txt"
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)
        self.parameterization = architecture.parameterization or "eps"
        self.scale_factor, self.shift_factor = architecture.scale_factor, architecture.shift_factor
        self.num_timesteps = len(alphas_cumprod)
        self.latent_channels = architecture.unet["in_channels"]
        self.channels = self.latent_channels
        self.sd_checkpoint_info = None
        self.sd_model_hash = None
        self.sd_model_checkpoint = None
        self.used_config = None
        self.eval().requires_grad_(False)

    def flow_shift(self, pixels: int) -> float:
        """Of a rectified flow, see flow_pipelines.shift_of: its own for a picture of so many pixels."""
        return 1.0

    def take_over(self, other: StudioModel) -> None:
        """Become another checkpoint of the same network."""
        self.load_state_dict(other.state_dict())
        self.alphas_cumprod, self.parameterization = other.alphas_cumprod, other.parameterization
        self.scale_factor, self.shift_factor = other.scale_factor, other.shift_factor
        self.cond_stage_model_empty_prompt = other.cond_stage_model_empty_prompt

    @property
    def conditioner(self):
        """SDXL's name for the text encoders."""
        return self.cond_stage_model

    @property
    def device(self) -> torch.device:
        return self.alphas_cumprod.device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.first_stage_model.parameters()).dtype

    @contextlib.contextmanager
    def ema_scope(self):
        yield

    def apply_model(self, x, t, cond):
        """The network's raw prediction for x (rows, 4, h, w) at steps t (rows,)."""
        if isinstance(cond, dict) and "crossattn" in cond:
            return self.model(x, t, cond)
        if not isinstance(cond, dict):
            cond = {"c_crossattn": cond if isinstance(cond, list) else [cond]}
        return self.model(x, t, **cond)

    def get_learned_conditioning(self, texts):
        """(len(texts), T, C), or for SDXL {crossattn, vector}; T is a multiple of 77."""
        return self.cond_stage_model(texts)

    def encode_first_stage(self, x) -> LatentDistribution:
        return LatentDistribution(self.first_stage_model.encode(x).latent_dist)

    def get_first_stage_encoding(self, encoder_posterior):
        """The scaled latent. The mean is taken, not a draw, so that a seed gives the same picture again."""
        latent = encoder_posterior.mode() if hasattr(encoder_posterior, "mode") else encoder_posterior
        return self.scale_factor * (latent - self.shift_factor)

    def decode_first_stage(self, z):
        return self.first_stage_model.decode(z / self.scale_factor + self.shift_factor).sample
