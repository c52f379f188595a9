"""A LoRA's names found in a model, and its change added to a layer's answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from extras.nag.naming import other_family
from extras.studio.lora_files import Factors, Place

_RESNET = {
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_DIRECT = {
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}


def places(unet: nn.Module, encoders: list[nn.Module]) -> dict[Place, nn.Module]:
    """Every layer that a LoRA can change, under all its names."""
    found: dict[Place, nn.Module] = {}
    layers = _layers(unet)
    found.update({("unet", name.replace(".", "_")): module for name, module in layers})
    if hasattr(unet, "down_blocks"):  # Flux and SD3 have no second notation here
        in_transformers, outside = other_family(unet, "diffusers"), _ldm_names(unet)
        for name, module in layers:
            other = outside.get(name) or in_transformers(name)
            if other:
                found["unet", other.replace(".", "_")] = module
    for part, encoder in zip(("te", "te2"), encoders, strict=False):
        for name, module in _layers(encoder):
            flat = name.removeprefix("text_model.").replace(".", "_")
            found[part, flat] = found[part, f"text_model_{flat}"] = module
    return found


def fits(module: nn.Module, factors: Factors) -> bool:
    """Do the factors have this layer's shape?"""
    down, up = factors.down, factors.up
    if isinstance(module, nn.Linear):
        plain = down.dim() == 2 or tuple(down.shape[2:]) == (1, 1)
        return plain and (down.shape[1], up.shape[0]) == (module.in_features, module.out_features)
    if not isinstance(module, nn.Conv2d) or module.groups != 1:
        return False
    kernel = (1, 1) if down.dim() == 2 else tuple(down.shape[2:])
    return kernel == module.kernel_size and (down.shape[1], up.shape[0]) == (module.in_channels, module.out_channels)


def attach(module: nn.Module, factors: Factors, strength: Callable[[], float]) -> Callable[[], None]:
    """Add strength() · scale · up · down to this layer from now on; returns what takes it away. At 0 nothing is
    computed."""
    weight = module.weight
    down = factors.down.to(weight.device, weight.dtype)
    up = factors.up.to(weight.device, weight.dtype)
    if isinstance(module, nn.Linear):
        down, up = down.reshape(down.shape[:2]), up.reshape(up.shape[:2])
    else:
        down = down.reshape(*down.shape[:2], *(down.shape[2:] or (1, 1)))
        up = up.reshape(*up.shape[:2], 1, 1)

    def add(layer: Any, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        amount = strength() * factors.scale
        if amount == 0:
            return None
        x = args[0]
        if isinstance(layer, nn.Linear):
            change = functional.linear(functional.linear(x, down), up)
        else:
            low = functional.conv2d(x, down, None, layer.stride, layer.padding, layer.dilation)
            change = functional.conv2d(low, up)
        return torch.add(output, change, alpha=amount)

    return module.register_forward_hook(add).remove


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]


def _ldm_names(unet: Any) -> dict[str, str]:
    """The layers outside the transformers: diffusers' name -> ldm's."""
    table = dict(_DIRECT)
    heads: dict[str, str] = {f"mid_block.resnets.{i}": f"middle_block_{2 * i}" for i in range(2)}
    place = 1
    for level, block in enumerate(unet.down_blocks):
        for i in range(len(block.resnets)):
            heads[f"down_blocks.{level}.resnets.{i}"] = f"input_blocks_{place + i}_0"
        place += len(block.resnets)
        table[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks_{place}_0_op"
        place += 1
    place = 0
    for level, block in enumerate(unet.up_blocks):
        for i in range(len(block.resnets)):
            heads[f"up_blocks.{level}.resnets.{i}"] = f"output_blocks_{place + i}_0"
        place += len(block.resnets)
        after = 2 if getattr(block, "attentions", None) else 1
        table[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks_{place - 1}_{after}_conv"
    for name, _ in _layers(unet):
        match = re.fullmatch(r"(.*\.resnets\.\d+)\.(\w+)", name)
        if match and match[1] in heads and match[2] in _RESNET:
            table[name] = f"{heads[match[1]]}_{_RESNET[match[2]]}"
    return table
