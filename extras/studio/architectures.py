"""Which network a checkpoint holds: inferred from the shapes of its tensors and the yaml beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from extras.studio.checkpoint_files import CheckpointError, read_header, read_yaml

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP_SD1, OPENCLIP_SD2 = "cond_stage_model.transformer.", "cond_stage_model.model."
CLIP_XL, OPENCLIP_XL = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
OPENCLIP_REFINER = "conditioner.embedders.0.model."


@dataclass
class Architecture:
    """``family`` is sd1, sd2, sdxl (a doodle is a small sd1), refiner (SDXL's), or of flow_pipelines.py flux, sd3,
    chroma. The configs are diffusers' and transformers'.

    ``parameterization`` is "eps", "v", "flow", or None when only running the network can tell.
    """

    family: str
    unet: dict
    vae: dict
    text: list[dict]
    parameterization: str | None = "eps"
    scale_factor: float = 0.18215
    linear_start: float = 0.00085
    linear_end: float = 0.0120
    timesteps: int = 1000
    text_prefixes: list[str] = field(default_factory=list)
    text_folder: str | None = None
    shift_factor: float = 0.0

    def same_network(self, other: Architecture | None) -> bool:
        """True when the weights of ``other`` fit into a model built for this one."""
        return other is not None and (self.family, self.unet, self.vae, self.text) == (
            other.family,
            other.unet,
            other.vae,
            other.text,
        )


def _foreign(shapes: dict) -> str:
    """A guess at what a file without a UNet of ours is."""
    keys = list(shapes)
    for part, name in (
        ("double_blocks", "a Flux model"),
        ("joint_blocks", "a Stable Diffusion 3 model"),
        ("lora_", "a LoRA"),
        ("lora_A", "a LoRA"),
        ("control_model", "a ControlNet"),
        ("down_blocks.", "a diffusers-format UNet"),
        ("text_model.", "a text encoder"),
        ("decoder.conv_in", "a VAE"),
        ("emb_params", "an embedding"),
    ):
        if any(part in k for k in keys):
            return f"its architecture is unknown here (it looks like {name})"
    return "its architecture is unknown here (it has no model.diffusion_model)"


def _index(shapes: dict, pattern: str) -> list[int]:
    """Sorted distinct integers that the group of ``pattern`` matches at the start of a name."""
    regex = re.compile(pattern)
    return sorted({int(m.group(1)) for k in shapes if (m := regex.match(k))})


def _unet(path, shapes: dict, params: dict) -> dict:
    """diffusers' UNet2DConditionModel config."""
    p = re.escape(UNET)
    channels = shapes[UNET + "input_blocks.0.0.weight"][0]
    in_channels = shapes[UNET + "input_blocks.0.0.weight"][1]
    if in_channels != 4:
        kind = {9: "an inpainting model", 8: "an InstructPix2Pix model", 5: "a depth model"}.get(in_channels, "unknown")
        raise CheckpointError(path, f"its UNet takes {in_channels} channels ({kind}), and only 4 are supported")
    levels: list[dict] = [{"res": 0, "out": channels, "depth": 0}]
    for i in _index(shapes, p + r"input_blocks\.(\d+)\.")[1:]:
        block = f"{UNET}input_blocks.{i}."
        if block + "0.op.weight" in shapes:
            levels.append({"res": 0, "out": levels[-1]["out"], "depth": 0})
            continue
        levels[-1]["res"] += 1
        levels[-1]["out"] = shapes[block + "0.out_layers.3.weight"][0]
        levels[-1]["depth"] = len(_index(shapes, re.escape(block) + r"1\.transformer_blocks\.(\d+)\."))
    depth_mid = len(_index(shapes, p + r"middle_block\.1\.transformer_blocks\.(\d+)\."))
    context = next((s[1] for k, s in shapes.items() if k.startswith(UNET) and k.endswith("attn2.to_k.weight")), None)
    if context is None or depth_mid == 0:
        raise CheckpointError(path, "its UNet has no text cross-attention")
    linear = len(shapes[UNET + "middle_block.1.proj_in.weight"]) == 2
    out = [level["out"] for level in levels]
    head_channels = params.get("num_head_channels", 64 if context in (1024, 1280, 2048) else -1)
    heads = params.get("num_heads", 8 if context >= 768 else 4)
    per_level = [c // head_channels for c in out] if head_channels and head_channels > 0 else heads
    attention = [level["depth"] > 0 for level in levels]
    config = {
        "in_channels": in_channels,
        "out_channels": shapes[UNET + "out.2.weight"][0],
        "down_block_types": [("CrossAttn" if a else "") + "DownBlock2D" for a in attention],
        "up_block_types": [("CrossAttn" if a else "") + "UpBlock2D" for a in reversed(attention)],
        "block_out_channels": out,
        "layers_per_block": levels[0]["res"],
        "cross_attention_dim": context,
        "attention_head_dim": per_level,
        "use_linear_projection": linear,
        "transformer_layers_per_block": [max(level["depth"], 1) for level in levels] if depth_mid > 1 else 1,
    }
    if depth_mid > 1:
        config["transformer_layers_per_block"][-1] = depth_mid
    adm = shapes.get(UNET + "label_emb.0.0.weight")
    if adm is not None:
        if context != 2048 and not any(k.startswith(OPENCLIP_REFINER) for k in shapes):
            raise CheckpointError(path, "its UNet takes image embeddings (an unCLIP model)")
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": adm[1],
        }
    return config


def _vae(path, shapes: dict) -> dict:
    """diffusers' AutoencoderKL config."""
    if VAE + "decoder.conv_in.weight" not in shapes or VAE + "encoder.conv_in.weight" not in shapes:
        raise CheckpointError(path, "it has no VAE (first_stage_model)")
    p = re.escape(VAE)
    levels = _index(shapes, p + r"encoder\.down\.(\d+)\.")
    out = [shapes[f"{VAE}encoder.down.{i}.block.0.conv2.weight"][0] for i in levels]
    return {
        "in_channels": shapes[VAE + "encoder.conv_in.weight"][1],
        "out_channels": shapes[VAE + "decoder.conv_out.weight"][0],
        "down_block_types": ["DownEncoderBlock2D"] * len(out),
        "up_block_types": ["UpDecoderBlock2D"] * len(out),
        "block_out_channels": out,
        "latent_channels": shapes[VAE + "decoder.conv_in.weight"][1],
        "layers_per_block": len(_index(shapes, p + r"encoder\.down\.0\.block\.(\d+)\.")),
    }


def _clip(shapes: dict, prefix: str) -> dict:
    """transformers' CLIPTextConfig of a CLIP text encoder in transformers' layout."""
    find = {k.removeprefix(prefix).removeprefix("text_model."): s for k, s in shapes.items() if k.startswith(prefix)}
    vocab, hidden = find["embeddings.token_embedding.weight"]
    return {
        "kind": "clip",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "max_position_embeddings": find["embeddings.position_embedding.weight"][0],
        "num_hidden_layers": len(_index(find, r"encoder\.layers\.(\d+)\.")),
        "intermediate_size": find["encoder.layers.0.mlp.fc1.weight"][0],
        "num_attention_heads": max(hidden // 64, 4),
        "projection_dim": hidden,
        "hidden_act": "quick_gelu",
    }


def _openclip(shapes: dict, prefix: str) -> dict:
    """The same of an OpenCLIP text encoder in its own layout."""
    vocab, hidden = shapes[prefix + "token_embedding.weight"]
    return {
        "kind": "openclip",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "max_position_embeddings": shapes[prefix + "positional_embedding"][0],
        "num_hidden_layers": len(_index(shapes, re.escape(prefix) + r"transformer\.resblocks\.(\d+)\.")),
        "intermediate_size": shapes[prefix + "transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_attention_heads": max(hidden // 64, 1),
        "hidden_act": "gelu",
        "projection_dim": shapes.get(prefix + "text_projection", (hidden, hidden))[1],
    }


def inspect(path) -> Architecture:
    """What the checkpoint at ``path`` holds. Raises CheckpointError when it is nothing we can run."""
    path = Path(path)
    shapes, metadata = read_header(path)
    params = (read_yaml(path).get("model") or {}).get("params") or {}
    if UNET + "input_blocks.0.0.weight" not in shapes:
        raise CheckpointError(path, _foreign(shapes))
    try:
        unet = _unet(path, shapes, (params.get("unet_config") or {}).get("params") or {})
        vae = _vae(path, shapes)
        if any(k.startswith(CLIP_XL) for k in shapes) and any(k.startswith(OPENCLIP_XL) for k in shapes):
            family, prefixes = "sdxl", [CLIP_XL, OPENCLIP_XL]
            text = [_clip(shapes, CLIP_XL), _openclip(shapes, OPENCLIP_XL)]
        elif any(k.startswith(OPENCLIP_REFINER) for k in shapes):
            family, prefixes, text = "refiner", [OPENCLIP_REFINER], [_openclip(shapes, OPENCLIP_REFINER)]
        elif any(k.startswith(OPENCLIP_SD2 + "transformer.") for k in shapes):
            family, prefixes, text = "sd2", [OPENCLIP_SD2], [_openclip(shapes, OPENCLIP_SD2)]
        elif any(k.startswith(CLIP_SD1) for k in shapes):
            family, prefixes, text = "sd1", [CLIP_SD1], [_clip(shapes, CLIP_SD1)]
        else:
            raise CheckpointError(path, "it has no text encoder that is known here")
    except KeyError as missing:
        raise CheckpointError(
            path, f"its architecture is unknown here (it lacks the tensor {missing.args[0]})"
        ) from None
    width = sum(t["hidden_size"] for t in text)
    if width != unet["cross_attention_dim"]:
        raise CheckpointError(
            path, f"its text encoder gives {width} values per token, its UNet takes {unet['cross_attention_dim']}"
        )
    text_params = (params.get("cond_stage_config") or {}).get("params") or {}
    return Architecture(
        family,
        unet,
        vae,
        text,
        _parameterization(shapes, metadata, params, family),
        float(params.get("scale_factor", 0.13025 if family in ("sdxl", "refiner") else 0.18215)),
        float(params.get("linear_start", 0.00085)),
        float(params.get("linear_end", 0.0120)),
        int(params.get("timesteps", 1000)),
        prefixes,
        text_params.get("version"),
    )


def _parameterization(shapes, metadata, params, family) -> str | None:
    declared = params.get("parameterization") or metadata.get("modelspec.prediction_type", "")
    if declared in ("v", "eps"):
        return declared
    if declared in ("v_prediction", "v-prediction") or "v_pred" in shapes:
        return "v"
    return None if family == "sd2" else "eps"
