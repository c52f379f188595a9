"""The distillation as a LoRA: a low-rank copy of (student - base), for the base model.

Each layer's difference is cut to `rank` by its singular values (of a convolution: of its kernel as a matrix, out ×
in·k·k). Biases and norms are left as the base has them. Names as kohya writes them, in ldm's notation, which every
WebUI knows whatever the number of residual blocks a level is.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .evaluate import load_models
from .export import unet_key

RANK = 32
NAME = "doodle-student-lora"


def factors(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(down, up) with up · down the nearest matrix of that rank; ``change``: a layer's weights, (out, in[, k, k])."""
    flat = change.reshape(change.shape[0], -1).double()
    u, s, v = torch.linalg.svd(flat, full_matrices=False)
    rank = min(rank, len(s))
    root = s[:rank].sqrt()
    down, up = root[:, None] * v[:rank], u[:, :rank] * root
    if change.dim() == 4:
        return down.reshape(rank, *change.shape[1:]), up[..., None, None]
    return down, up


def extract(base: nn.Module, student: nn.Module, rank: int = RANK) -> tuple[dict[str, Tensor], float]:
    """(tensors of the file, share of the change's energy that they hold, 0 to 1). Both networks in diffusers' form."""
    wanted = dict(student.named_modules())
    tensors: dict[str, Tensor] = {}
    kept = total = 0.0
    for name, layer in base.named_modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            continue
        change = (wanted[name].weight - layer.weight).detach().float()
        down, up = (x.half() for x in factors(change, rank))
        if change.dim() == 4:
            copy = torch.einsum("or,rikl->oikl", up[..., 0, 0].double(), down.double())
        else:
            copy = up.double() @ down.double()
        total += float(change.double().square().sum())
        kept += float(change.double().square().sum() - (change - copy).square().sum())
        key = "lora_unet_" + unet_key(f"{name}.weight").removesuffix(".weight").replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = down.contiguous()
        tensors[f"{key}.lora_up.weight"] = up.contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(float(down.shape[0]))
    return tensors, kept / total


def write(folder: Path, rank: int = RANK) -> tuple[Path, float]:
    """Make Lora/doodle-student-lora.safetensors from the checkpoints in `folder`; (its path, share of energy)."""
    base, student = (load_models(folder / f"doodle-{name}.safetensors").unet for name in ("base", "student"))
    tensors, share = extract(base, student, rank)
    path = folder / "Lora" / f"{NAME}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    metadata = {
        "format": "pt",
        "ss_output_name": NAME,
        "ss_network_dim": str(rank),
        "ss_network_module": "networks.lora",
    }
    save_file(tensors, str(partial), metadata=metadata)
    partial.chmod(0o644)
    os.replace(partial, path)
    return path, share
