"""The Flux doodle as one file, and that file as a pipeline.

`models/flux/doodle-flux.safetensors` holds diffusers' names under "transformer.", "text_encoder." (pooled),
"text_encoder_2." (sequence) and "vae.", float16; its metadata holds the word list that both tokenizers are built from.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from diffusers import FluxPipeline
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from . import MODELS, arch, flux_arch
from .flux_model import FluxDoodle


def file_in(folder: Path) -> Path:
    """Where a folder of doodle models has this one: apart from those that WebUIs list."""
    return folder / "flux" / "doodle-flux.safetensors"


PATH = file_in(MODELS)


class FluxDoodlePipeline(FluxPipeline):
    """`diffusers.FluxPipeline` for the doodle: texts of the trained 24 tokens; made by `pipeline`."""

    def encode_prompt(self, *args, max_sequence_length: int = flux_arch.TEXT_TOKENS, **kwargs):
        """As the parent's; a longer sequence than the trained one (the pipeline's default is 512) is cut to it."""
        length = min(max_sequence_length, flux_arch.TEXT_TOKENS)
        return super().encode_prompt(*args, max_sequence_length=length, **kwargs)


def _parts(model: FluxDoodle, vae: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {
        "transformer": model.transformer,
        "text_encoder": model.pooled,
        "text_encoder_2": model.sequence,
        "vae": vae,
    }


def write(path: Path, model: FluxDoodle, vae: torch.nn.Module) -> int:
    """Write the checkpoint, whole or not at all. Returns its size in bytes."""
    tensors = {
        f"{part}.{key}": value.detach().half().contiguous().clone()
        for part, module in _parts(model, vae).items()
        for key, value in module.state_dict().items()
        if value.is_floating_point()
    }
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", "modelspec.title": "Doodle Flux, 4 steps, CFG 1", "words": json.dumps(model.words)}
    save_file(tensors, str(partial), metadata=metadata)
    partial.chmod(0o644)  # the library writes it for the owner alone
    os.replace(partial, path)
    return path.stat().st_size


def load(path: Path = PATH) -> FluxDoodlePipeline:
    """The pipeline, ready to call: `load()("a nerd", num_inference_steps=4).images[0]`. Raises what read() does."""
    return pipeline(*read(path))


def read(path: Path = PATH) -> tuple[FluxDoodle, torch.nn.Module]:
    """(model, VAE), float32 on the CPU. ValueError names the file if it is not such a checkpoint; FileNotFoundError if
    it is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file (`python nagtime.py train-tiny --flux` makes it)")
    try:
        with safe_open(str(path), framework="pt") as file:
            words = json.loads((file.metadata() or {})["words"])
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (no mapping)
        model, vae = FluxDoodle(words), flux_arch.build_vae()
        for part, module in _parts(model, vae).items():
            own = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
            missing, unknown = module.load_state_dict(own, strict=False)
            missing = [key for key in missing if not key.endswith("position_ids")]
            if missing or unknown:
                raise ValueError(f"{part}: missing {missing[:3]}, unknown {unknown[:3]}")
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: this is no Flux doodle checkpoint ({error})") from error
    return model, vae


def pipeline(model: FluxDoodle, vae: torch.nn.Module) -> FluxDoodlePipeline:
    """The parts as a pipeline without a progress bar."""
    parts = {name: part.eval().requires_grad_(False) for name, part in _parts(model, vae).items()}
    pipe = FluxDoodlePipeline(
        scheduler=flux_arch.build_scheduler(),
        tokenizer=model.pooled_tokenizer,
        tokenizer_2=model.sequence_tokenizer,
        **parts,
    )
    pipe.default_sample_size = arch.LATENT
    pipe.set_progress_bar_config(disable=True)
    return pipe
