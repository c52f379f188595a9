"""Which layers of a model can be guided, under every name in use, and selecting some of them.

Notation of the field: d0, d1, ... count the transformer blocks of the down path in module order, m0, ...
those of the middle, u0, ... those of the up path (SDXL: d0-d23, m0-m9, u0-u35). The attn1 and attn2 of one
block share it. Module names: those of the model itself, and those the same layer has in the other family
(ldm/sgm ``input_blocks.4.1...`` and diffusers ``down_blocks.1.attentions.0...``). Places: d2.4 is block 4 of the
down path's transformer 2. in08, mid, out03: the ldm blocks, as for LoRA weights. Transformers: t0, t1, ... are the
blocks with two streams, s0, s1, ... the single ones (Flux: t0-t18, s0-s37).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from .joint.find import Transformer, find_transformer
from .naming import other_family
from .selector import LayerError, pick

__all__ = ["Layer", "LayerError", "find_blocks", "find_denoiser", "find_layers", "find_unet", "select"]

_FAMILIES = {
    "ldm": ("input_blocks", "middle_block", "output_blocks"),
    "diffusers": ("down_blocks", "mid_block", "up_blocks"),
}
_PATHS = "dmu"
_INSIDE = re.compile(r"(.+)\.transformer_blocks\.(\d+)")


@dataclass(frozen=True)
class Layer:
    """One attention layer. ``name``: module path inside the UNet. ``kind``: "cross" (image asks text),
    "self", "joint", or "block" for a whole transformer block. ``notation``: d/m/u name. ``heads``; ``width`` =
    heads x head size, of the features guided. ``index``: place among all layers found. ``alias``: name in the
    other family's notation, "" if unknown. ``place``: transformer and block in it, "d2.4". ``strength``: 0..1,
    what a selector gave it."""

    name: str
    module: nn.Module = field(repr=False, compare=False)
    kind: str
    notation: str
    heads: int
    width: int
    index: int
    alias: str = ""
    place: str = ""
    strength: float = 1.0

    @property
    def attn(self) -> Any:
        """The module, for reading its to_q, to_k, to_v, to_out, heads."""
        return self.module


def find_unet(model: nn.Module) -> tuple[nn.Module, str]:
    """The UNet in ``model`` (itself, or wrapped as in a WebUI) and its family, "ldm" or "diffusers".

    The one nearest to the top; LayerError if there is none.
    """
    if not isinstance(model, nn.Module):
        raise LayerError(f"model is {type(model).__name__}; allowed: a torch module with a UNet in it")
    level = [model]
    for _ in range(5):
        for module in level:
            for family, parts in _FAMILIES.items():
                if all(isinstance(getattr(module, part, None), nn.Module) for part in parts):
                    return module, family
        level = [child for module in level for child in module.children()]
    raise LayerError(
        f"{type(model).__name__} has no UNet that is known: needs input_blocks, middle_block, output_blocks "
        "or down_blocks, mid_block, up_blocks"
    )


def find_denoiser(model: nn.Module) -> nn.Module:
    """The module whose forward is one model call: the UNet or transformer in ``model``. LayerError if there is none."""
    transformer = find_transformer(model)
    return transformer.module if transformer is not None else find_unet(model)[0]


def find_layers(model: nn.Module) -> list[Layer]:
    """Every attention layer of the model's UNet in module order: down, middle, up; of a transformer, in the order in
    which they run. LayerError if it has none."""
    transformer = find_transformer(model)
    if transformer is not None:
        return _joint_layers(transformer)
    unet, family = find_unet(model)
    rename = other_family(unet, family)
    layers: list[Layer] = []
    for path, part in zip(_PATHS, _FAMILIES[family], strict=True):
        blocks: dict[str, str] = {}  # transformer block -> notation
        transformers: dict[str, int] = {}
        for name, module in getattr(unet, part).named_modules(prefix=part):
            kind = _kind(name, module)
            if not kind:
                continue
            block = name.rpartition(".")[0]
            notation = blocks.setdefault(block, f"{path}{len(blocks)}")
            inside = _INSIDE.fullmatch(block)
            place = ""
            if inside:
                place = f"{path}{transformers.setdefault(inside[1], len(transformers))}.{inside[2]}"
            about = (_heads(module), _width(module), len(layers), rename(name), place)
            layers.append(Layer(name, module, kind, notation, *about))
    if not layers:
        raise LayerError(f"{type(unet).__name__} has no attention layer (to_q, to_k, to_v, to_out) that can be guided")
    return layers


def _joint_layers(transformer: Transformer) -> list[Layer]:
    found = transformer.family.blocks(transformer.module)
    return [Layer(b.name, b.module, "joint", b.notation, b.heads, b.width, i, b.alias) for i, b in enumerate(found)]


def find_blocks(model: nn.Module) -> list[Layer]:
    """The transformer blocks that hold the model's attention layers, in the same order and notation, as layers of
    kind "block"."""
    unet, _ = find_unet(model)
    blocks: dict[str, Layer] = {}
    for layer in find_layers(model):
        name, alias = (full.rpartition(".")[0] for full in (layer.name, layer.alias))
        if name and name not in blocks:
            module = unet.get_submodule(name)
            blocks[name] = replace(layer, name=name, alias=alias, module=module, kind="block", index=len(blocks))
    return list(blocks.values())


def select(layers: list[Layer], selector: str, kind: str = "cross", field: str = "layers") -> list[Layer]:
    """The layers of one kind that a selector names, in module order, each with its ``strength``.

    ``selector``: terms separated by commas. "all"; a d/m/u name or range (``d0-d3``, ``m0``); places
    (``d2.0-9``: blocks 0-9 of transformer 2); ldm blocks (``in08``, ``mid``, ``out03``); a module name of either
    notation, wildcards allowed, with or without the final ``.attn2``; ``!term`` takes away (alone: from all);
    ``term=0.5`` gives a strength, a later term overrides. LayerError names what is unknown and lists what exists.
    """
    chosen = pick([layer for layer in layers if layer.kind == kind], selector, kind, field)
    return [layer if strength == 1.0 else replace(layer, strength=strength) for layer, strength in chosen]


def _kind(name: str, module: Any) -> str:
    """ "cross", "self", or "" for what is no attention layer of a transformer block."""
    last = name.rpartition(".")[2]
    if last not in ("attn1", "attn2"):
        return ""
    if not all(isinstance(getattr(module, part, None), nn.Module) for part in ("to_q", "to_k", "to_v", "to_out")):
        return ""
    crossing = getattr(module, "is_cross_attention", None)  # diffusers knows; elsewhere attn2 is the text one
    if isinstance(crossing, bool):
        return "cross" if crossing else "self"
    return "cross" if last == "attn2" else "self"


def _heads(module: Any) -> int:
    heads: Any = getattr(module, "heads", None) or getattr(module, "n_heads", 1)
    return int(heads)


def _width(module: Any) -> int:
    width = getattr(module.to_q, "out_features", None)
    return int(width) if width else int(module.to_q.weight.shape[0])
