"""The Flux doodle's architecture, stated once: training, loading and measuring all read it here.

The layout is Flux's (schnell: no guidance embedding): double blocks, single blocks, rotary positions, q/k norm, a T5
encoder's sequence beside a CLIP encoder's pooled vector. Only the numbers are small.
"""

from __future__ import annotations

from typing import Any

from . import arch

DOUBLE_BLOCKS, SINGLE_BLOCKS = 3, 4
HEADS, HEAD_DIM = 4, 32
ROPE_AXES = (4, 14, 14)
"""Channels of a head that turn with the text index (unused, 0), the row and the column."""
TEXT_WIDTH, POOLED_WIDTH = 64, 64
TEXT_TOKENS = 24
"""Length of both encoders' sequences: the longest caption has 21 words and signs."""
PATCH_CHANNELS = 16
"""A token is a patch of 2×2 latents of 4 channels: 64 tokens for a 128-pixel picture."""


def build_transformer() -> Any:
    """A `diffusers.FluxTransformer2DModel` of the doodle size."""
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=PATCH_CHANNELS,
        num_layers=DOUBLE_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=ROPE_AXES,
    )


def build_sequence_encoder(vocabulary: int) -> Any:
    """A `transformers.T5EncoderModel` of two layers (v1.1: gated GELU)."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=TEXT_WIDTH,
            d_kv=16,
            d_ff=2 * TEXT_WIDTH,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            is_encoder_decoder=False,
            use_cache=False,
            tie_word_embeddings=False,
        )
    )


def build_pooled_encoder(vocabulary: int, start: int, end: int) -> Any:
    """A `transformers.CLIPTextModel` of two layers. start, end: the tokenizer's ids; padding is `end`."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=POOLED_WIDTH,
            intermediate_size=2 * POOLED_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TEXT_TOKENS,
            hidden_act="quick_gelu",
            projection_dim=POOLED_WIDTH,
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def build_vae() -> Any:
    """The doodles' autoencoder as Flux's pipeline wants it: with a shift factor, which is 0."""
    vae = arch.build_vae()
    vae.register_to_config(shift_factor=0.0)
    return vae


def build_scheduler() -> Any:
    """Euler on sigma = 1, 1 − 1/n … 1/n, as Flux schnell: no shift."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
