"""Tiny random diffusers pipelines, built here: nothing is downloaded."""

import json

import nag_tiny
import torch
from diffusers import (
    AutoencoderKL,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz,.0123456789"
WORDS = ("nerd", "glasses", "hat", "pink", "background", "a", "on", "flowers")


def tokenizer(folder):
    """A CLIP tokenizer that knows single letters and a few words."""
    merges, tokens = [], [*LETTERS, *(x + "</w>" for x in LETTERS)]
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = f"{parts[0]} {parts[1]}"
            parts[:2] = ["".join(parts[:2])]
            if pair not in merges:
                merges.append(pair)
                tokens.append(parts[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    made = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    assert len(made("nerd glasses").input_ids) == 4
    return made


def _text_config(made, width, projection=16):
    return CLIPTextConfig(
        vocab_size=len(made),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=projection,
        bos_token_id=made.bos_token_id,
        eos_token_id=made.eos_token_id,
        pad_token_id=made.pad_token_id,
    )


def _vae():
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()


def _quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sd(folder, image_to_image=False):
    """Text encoder of the width of the tiny UNets; trailing DDIM steps: 4 of them are 999 749 499 249."""
    torch.manual_seed(11)
    made = tokenizer(folder)
    kind = StableDiffusionImg2ImgPipeline if image_to_image else StableDiffusionPipeline
    return _quiet(
        kind(
            vae=_vae(),
            text_encoder=CLIPTextModel(_text_config(made, nag_tiny.CONTEXT)).eval(),
            tokenizer=made,
            unet=nag_tiny.sd1(),
            scheduler=DDIMScheduler(timestep_spacing="trailing", clip_sample=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def sdxl(folder):
    """Two encoders, 8 + 16 channels wide, the second one pooled to 16."""
    torch.manual_seed(12)
    made, half = tokenizer(folder), nag_tiny.CONTEXT // 3
    return _quiet(
        StableDiffusionXLPipeline(
            vae=_vae(),
            text_encoder=CLIPTextModel(_text_config(made, half)).eval(),
            text_encoder_2=CLIPTextModelWithProjection(_text_config(made, 2 * half)).eval(),
            tokenizer=made,
            tokenizer_2=made,
            unet=nag_tiny.sdxl(),
            scheduler=DDIMScheduler(timestep_spacing="trailing", clip_sample=False, steps_offset=1),
            add_watermarker=False,
        )
    )


# -- transformers ---


def _t5(width):
    """(tokenizer of whole words, encoder of ``width``)."""
    words = {word: i for i, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = T5Config(
        vocab_size=len(words), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, is_encoder_decoder=False,
        dropout_rate=0.0,
    )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special), T5EncoderModel(config).eval()


def _latent_vae(channels):
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=channels,
        shift_factor=0.0,
        scaling_factor=1.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()


def flux(folder):
    """Flux.1 of two double and three single blocks."""
    torch.manual_seed(13)
    made = tokenizer(folder)
    words, encoder = _t5(24)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=24, pooled_projection_dim=16, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return _quiet(
        FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
            vae=_latent_vae(4),
            text_encoder=CLIPTextModel(_text_config(made, 16)).eval(),
            tokenizer=made,
            text_encoder_2=encoder,
            tokenizer_2=words,
            transformer=transformer.eval(),
        )
    )


def chroma(folder):
    """Chroma of two double and three single blocks: T5's text alone, its padding masked."""
    torch.manual_seed(15)
    words, encoder = _t5(24)
    transformer = ChromaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=24, axes_dims_rope=(4, 6, 6), approximator_num_channels=16, approximator_hidden_dim=32,
        approximator_layers=2,
    )  # fmt: skip
    return _quiet(
        ChromaPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
            vae=_latent_vae(4),
            text_encoder=encoder,
            tokenizer=words,
            transformer=transformer.eval(),
        )
    )


def sd3(folder):
    """Stable Diffusion 3 of three blocks: two CLIP encoders, 8 + 16 channels, and T5's 32."""
    torch.manual_seed(14)
    made = tokenizer(folder)
    words, encoder = _t5(32)
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=24, out_channels=4,
        pos_embed_max_size=16,
    )  # fmt: skip
    return _quiet(
        StableDiffusion3Pipeline(
            transformer=transformer.eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=_latent_vae(4),
            text_encoder=CLIPTextModelWithProjection(_text_config(made, 8, 8)).eval(),
            tokenizer=made,
            text_encoder_2=CLIPTextModelWithProjection(_text_config(made, 16, 16)).eval(),
            tokenizer_2=made,
            text_encoder_3=encoder,
            tokenizer_3=words,
        )
    )
