"""The doodle models' architecture, stated once: training, export and the yaml beside a checkpoint all read it here."""

from __future__ import annotations

from typing import Any

UNET_CHANNELS = (64, 128, 128)
UNET_HEADS = 4
CONTEXT = 64
VAE_CHANNELS = (64, 64, 64, 64)
LATENT = 16
"""Latent side for a 128-pixel picture (the VAE reduces by 8)."""
SCALE_FACTOR = 0.18215
VOCAB, START_ID, END_ID, MAX_TOKENS = 49408, 49406, 49407, 77
BETA_START, BETA_END, TRAIN_STEPS = 0.00085, 0.012, 1000


def build_unet() -> Any:
    """A `diffusers.UNet2DConditionModel` of the doodle size: 6.9 M parameters, v-prediction, text attention on
    every level."""
    from diffusers import UNet2DConditionModel

    levels = len(UNET_CHANNELS)
    return UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=4,
        out_channels=4,
        block_out_channels=UNET_CHANNELS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=CONTEXT,
        attention_head_dim=UNET_HEADS,
        norm_num_groups=32,
    )


def build_vae(attention: bool = True) -> Any:
    """A `diffusers.AutoencoderKL` of the doodle size.

    attention: the layout has one attention block in the middle of encoder and decoder. We train without it (flat scenes
    need nothing global) and export it with a zero output projection, which is the identity.
    """
    from diffusers import AutoencoderKL

    levels = len(VAE_CHANNELS)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=VAE_CHANNELS,
        layers_per_block=1,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=32,
        sample_size=128,
        scaling_factor=SCALE_FACTOR,
        mid_block_add_attention=attention,
    )


def text_config(vocab: int = VOCAB) -> Any:
    """`transformers.CLIPTextConfig` of the doodle size: hidden 64, 2 layers, 4 heads, 77 positions."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocab,
        hidden_size=CONTEXT,
        intermediate_size=4 * CONTEXT,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        hidden_act="quick_gelu",
        projection_dim=CONTEXT,
        bos_token_id=min(START_ID, vocab - 2),
        eos_token_id=min(END_ID, vocab - 1),
        pad_token_id=min(END_ID, vocab - 1),
    )


def alphas_cumprod() -> Any:
    """Cumulative signal power of the scaled-linear schedule, float64 tensor (1000,)."""
    import torch

    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)
