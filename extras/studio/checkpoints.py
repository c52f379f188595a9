"""A checkpoint file becomes a model, entirely offline. Errors are `CheckpointError`s that name the file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from torch import nn

from extras.studio import architectures
from extras.studio.architectures import Architecture
from extras.studio.checkpoint_files import CheckpointError, read_tensors
from extras.studio.model import StudioModel

_POOLED = (architectures.OPENCLIP_XL, architectures.OPENCLIP_REFINER)  # encoders that give a vector as well
TOKENIZER_FILES = ("vocab.json", "merges.txt")


def find_tokenizer(path: Path, arch: Architecture, fallback: Path) -> Path:
    """The folder with vocab.json and merges.txt: the yaml's, else ``fallback``. CheckpointError if neither."""
    candidates = [fallback, Path(path).parent / "tokenizer"]
    if arch.text_folder:
        candidates.insert(0, Path(path).parent / arch.text_folder)
    for folder in candidates:
        if all((folder / name).is_file() for name in TOKENIZER_FILES):
            return folder
    raise CheckpointError(path, f"no tokenizer was found: {' and '.join(TOKENIZER_FILES)} are needed in {fallback}")


def _heads_from_config(folder: Path, text: dict) -> None:
    """The number of heads cannot be seen in the shapes; a config.json of the same width says it."""
    try:
        config = json.loads((folder / "config.json").read_text("utf8"))
    except (OSError, ValueError):
        return
    config = config.get("text_config", config) or {}
    if (
        config.get("hidden_size") == text["hidden_size"]
        and config.get("num_hidden_layers") == text["num_hidden_layers"]
    ):
        for key in ("num_attention_heads", "hidden_act", "layer_norm_eps"):
            if key in config:
                text[key] = config[key]


def _fill(path, module: nn.Module, state: dict, what: str, dtype, optional=()) -> nn.Module:
    """Give a module on the meta device its weights. CheckpointError names what is missing."""
    wanted = dict(module.named_parameters())
    state = {k: v for k, v in state.items() if k in wanted}
    missing = [k for k in wanted if k not in state and k not in optional]
    if missing:
        raise CheckpointError(path, f"its {what} lacks {len(missing)} tensors, such as {missing[0]}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                path, f"its {what} has {tuple(tensor.shape)} for {name} where {tuple(wanted[name].shape)} is expected"
            )
    module.load_state_dict({k: v.to(dtype) for k, v in state.items()}, strict=False, assign=True)
    for name, buffer in list(module.named_buffers()):
        if buffer.is_meta:  # only CLIP's position_ids, which is not stored
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, torch.arange(buffer.shape[-1]).expand(buffer.shape).clone())
    for name, parameter in list(module.named_parameters()):
        if parameter.is_meta:
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, nn.Parameter(torch.zeros(parameter.shape, dtype=dtype)))
    return module.eval().requires_grad_(False)


def _text_encoder(path, config: dict, prefix: str, tensors: dict, dtype, projected: bool):
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = dict(config)
    kind = config.pop("kind")
    clip_config = CLIPTextConfig(**config, bos_token_id=49406, eos_token_id=49407)
    with torch.device("meta"):
        module = (CLIPTextModelWithProjection if projected else CLIPTextModel)(clip_config)
    if kind == "openclip":
        state = convert_open_clip_checkpoint(module, {k: v for k, v in tensors.items() if k.startswith(prefix)}, prefix)
    else:
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    # transformers 4 keeps the encoder under text_model, transformers 5 does not; old checkpoints vary too
    wanted = {name.removeprefix("text_model."): name for name, _ in module.named_parameters()}
    state = {wanted.get(k.removeprefix("text_model."), k): v for k, v in state.items()}
    return _fill(path, module, state, "text encoder", dtype)


def alphas_cumprod(arch: Architecture) -> torch.Tensor:
    """(timesteps,) of the scaled-linear schedule: beta = linspace(sqrt(start), sqrt(end))^2."""
    betas = torch.linspace(arch.linear_start**0.5, arch.linear_end**0.5, arch.timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def _guess_parameterization(model: StudioModel) -> str:
    """SD 2 files do not say: at the noisiest step an eps network returns about its input, a v network does not."""
    width = model.architecture.unet["cross_attention_dim"]
    like = next(model.model.parameters())
    x = torch.full((1, model.latent_channels, 8, 8), 0.5, device=like.device, dtype=like.dtype)
    context = torch.full((1, 2, width), 0.5, device=like.device, dtype=like.dtype)
    with torch.no_grad():
        out = model.apply_model(x, torch.full((1,), 999, device=like.device), {"c_crossattn": [context]})
    return "v" if (out - x).mean().item() < -1 else "eps"


def load(path, tokenizer_dir, device="cpu", dtype: torch.dtype = torch.float32):
    """(StudioModel, tokenizer folder, [text encoder modules]) of the checkpoint at ``path``.

    The text encoders are returned apart: the WebUI wraps them with its prompt language.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    path = Path(path)
    arch = architectures.inspect(path)
    tokenizer = find_tokenizer(path, arch, Path(tokenizer_dir))
    if arch.family == "sd1":
        _heads_from_config(tokenizer, arch.text[0])
    tensors = read_tensors(path)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    try:
        with torch.device("meta"):
            unet, vae = UNet2DConditionModel(**arch.unet), AutoencoderKL(**arch.vae)
        unet_state = convert_ldm_unet_checkpoint(dict(tensors), dict(unet.config))
        vae_state = convert_ldm_vae_checkpoint(
            {k: v for k, v in tensors.items() if k.startswith(architectures.VAE)}, dict(vae.config)
        )
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(path, f"its architecture is unknown here ({type(error).__name__}: {error})") from error
    unet, vae = _fill(path, unet, unet_state, "UNet", dtype), _fill(path, vae, vae_state, "VAE", dtype)
    encoders = [
        _text_encoder(path, config, prefix, tensors, dtype, projected=prefix in _POOLED)
        for config, prefix in zip(arch.text, arch.text_prefixes, strict=True)
    ]
    model = StudioModel(arch, unet, vae, alphas_cumprod(arch)).to(device)
    if arch.parameterization is None:
        model.parameterization = _guess_parameterization(model)
    return model, tokenizer, [encoder.to(device) for encoder in encoders]
