"""Write a checkpoint in the SD 1.x single-file layout (CompVis names) with its yaml, so that stock WebUIs load it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from . import arch

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
LAYERS = 1  # residual blocks per level


def unet_key(key: str) -> str:
    """The CompVis name of a `diffusers.UNet2DConditionModel` key, under `model.diffusion_model.`."""
    direct = {
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
    }
    stem, leaf = key.rsplit(".", 1)
    if stem in direct:
        return f"{direct[stem]}.{leaf}"
    if match := re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.*)", key):
        level, part, index, rest = int(match[1]), match[2], int(match[3]), match[4]
        if part == "downsamplers":
            return f"input_blocks.{(level + 1) * (LAYERS + 1)}.0.{rest.replace('conv.', 'op.')}"
        return f"input_blocks.{1 + level * (LAYERS + 1) + index}.{_member(part, rest)}"
    if match := re.fullmatch(r"up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(\d+)\.(.*)", key):
        level, part, index, rest = int(match[1]), match[2], int(match[3]), match[4]
        if part == "upsamplers":
            return f"output_blocks.{level * (LAYERS + 1) + LAYERS}.2.{rest}"
        return f"output_blocks.{level * (LAYERS + 1) + index}.{_member(part, rest)}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key):
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{_member(match[1], match[3])[2:]}"
    raise ValueError(f"unet key {key!r} has no place in the layout")


def _member(part: str, rest: str) -> str:
    if part == "attentions":
        return f"1.{rest}"
    name, leaf = rest.rsplit(".", 1)
    return f"0.{_RESNET[name]}.{leaf}"


def vae_key(key: str) -> str:
    """The CompVis name of a `diffusers.AutoencoderKL` key, under `first_stage_model.`."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if match := re.fullmatch(r"(\w+)\.mid_block\.attentions\.0\.(.*)\.(weight|bias)", key):
        return f"{match[1]}.mid.attn_1.{_VAE_ATTENTION[match[2]]}.{match[3]}"
    key = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    last = len(arch.VAE_CHANNELS) - 1
    key = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{last - int(m[1])}.block.{m[2]}", key)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", key)


def state_dict(text: torch.nn.Module, unet: torch.nn.Module, vae: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint under their CompVis names, float16."""
    tensors = {f"model.diffusion_model.{unet_key(k)}": v for k, v in unet.state_dict().items()}
    for key, value in vae.state_dict().items():
        is_attention = "attentions" in key and "group_norm" not in key and value.ndim == 2
        tensors[f"first_stage_model.{vae_key(key)}"] = value[..., None, None] if is_attention else value
    for key, value in text.state_dict().items():
        if not key.endswith("position_ids"):
            tensors["cond_stage_model.transformer.text_model." + key.removeprefix("text_model.")] = value
    return {k: v.detach().half().contiguous().clone() for k, v in tensors.items()}


def write_checkpoint(path: Path, text: torch.nn.Module, unet: torch.nn.Module, vae: torch.nn.Module, title: str) -> int:
    """Write `path` (.safetensors) and the yaml beside it. Returns the size in bytes."""
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state_dict(text, unet, vae), str(partial), metadata={"format": "pt", "modelspec.title": title})
    partial.chmod(0o644)  # the library writes it for the owner alone
    os.replace(partial, path)
    path.with_suffix(".yaml").write_text(compvis_yaml("models/tokenizer"), encoding="utf-8")
    return path.stat().st_size


def compvis_yaml(encoder_folder: str) -> str:
    """The CompVis yaml of the doodle architecture. encoder_folder: where the text encoder's config and tokenizer
    lie."""
    import yaml

    return yaml.safe_dump(compvis_config(encoder_folder), sort_keys=False)


def compvis_config(encoder_folder: str) -> dict[str, Any]:
    """The same as a dictionary."""
    mult = [c // arch.UNET_CHANNELS[0] for c in arch.UNET_CHANNELS]
    return {
        "model": {
            "base_learning_rate": 1.0e-4,
            "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
            "params": {
                "parameterization": "v",
                "linear_start": arch.BETA_START,
                "linear_end": arch.BETA_END,
                "num_timesteps_cond": 1,
                "log_every_t": 200,
                "timesteps": arch.TRAIN_STEPS,
                "first_stage_key": "jpg",
                "cond_stage_key": "txt",
                "image_size": arch.LATENT,
                "channels": 4,
                "cond_stage_trainable": False,
                "conditioning_key": "crossattn",
                "monitor": "val/loss_simple_ema",
                "scale_factor": arch.SCALE_FACTOR,
                "use_ema": False,
                "unet_config": {
                    "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                    "params": {
                        "image_size": arch.LATENT,
                        "in_channels": 4,
                        "out_channels": 4,
                        "model_channels": arch.UNET_CHANNELS[0],
                        "attention_resolutions": [2**i for i in range(len(mult))],
                        "num_res_blocks": LAYERS,
                        "channel_mult": mult,
                        "num_heads": arch.UNET_HEADS,
                        "use_spatial_transformer": True,
                        "transformer_depth": 1,
                        "context_dim": arch.CONTEXT,
                        "use_checkpoint": False,
                        "legacy": False,
                    },
                },
                "first_stage_config": {
                    "target": "ldm.models.autoencoder.AutoencoderKL",
                    "params": {
                        "embed_dim": 4,
                        "monitor": "val/rec_loss",
                        "ddconfig": {
                            "double_z": True,
                            "z_channels": 4,
                            "resolution": 128,
                            "in_channels": 3,
                            "out_ch": 3,
                            "ch": arch.VAE_CHANNELS[0],
                            "ch_mult": [c // arch.VAE_CHANNELS[0] for c in arch.VAE_CHANNELS],
                            "num_res_blocks": LAYERS,
                            "attn_resolutions": [],
                            "dropout": 0.0,
                        },
                        "lossconfig": {"target": "torch.nn.Identity"},
                    },
                },
                "cond_stage_config": {
                    "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                    "params": {"version": encoder_folder, "device": "cpu"},
                },
            },
        }
    }
