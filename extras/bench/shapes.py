"""The models: diffusers configurations of the published sizes, filled with random numbers; nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

Inputs = dict[str, Any]
_SD15_WIDTHS = (320, 640, 1280, 1280)  # what diffusers takes, unless told
_SDXL_FACES: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}


@dataclass(frozen=True)
class Shape:
    """``config``: of the diffusers class. ``text``, ``pooled``: channels of the text encoders. ``tokens``: of a prompt.
    ``per_token``: pixels of the picture's edge per token of the first layer. ``published``: the paper's extra cost."""

    name: str
    kind: str  # "unet" or "flux"
    config: Mapping[str, Any] = field(repr=False)
    text: int
    tokens: int
    pooled: int = 0
    published: float | None = None

    def blocks(self, double: int, single: int) -> Shape:
        """The same transformer with fewer blocks, each of full size."""
        return replace(self, config={**self.config, "num_layers": double, "num_single_layers": single})

    def thin(self) -> Shape:
        """The same UNet, block by block, with almost no width and hardly a token: as many operators, nothing to do."""
        config = dict(self.config)
        widths: tuple[int, ...] = config.get("block_out_channels", _SD15_WIDTHS)
        config |= {
            "sample_size": 8,
            # where widths differ there are projections
            "block_out_channels": tuple(8 * (1 + sorted(set(widths)).index(width)) for width in widths),
            "norm_num_groups": 4,
            "attention_head_dim": 2,
            "cross_attention_dim": 16,
        }
        if self.pooled:
            config |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 8 * 6 + 16}
        return replace(self, config=config, text=16, tokens=4, pooled=16 if self.pooled else 0)

    def empty(self) -> nn.Module:
        """The model without memory for its weights."""
        import diffusers

        kind: Any = diffusers.FluxTransformer2DModel if self.kind == "flux" else diffusers.UNet2DConditionModel
        with torch.device("meta"):
            model: nn.Module = kind(**self.config)
        return model.eval().requires_grad_(False)

    def parameters(self) -> int:
        return sum(p.numel() for p in self.empty().parameters())


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("sd15", "unet", {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}, 768, 77),
        Shape(
            "sdxl",
            "unet",
            {
                **_SDXL_FACES,
                "sample_size": 128,
                "block_out_channels": (320, 640, 1280),
                "transformer_layers_per_block": (1, 2, 10),
                "attention_head_dim": (5, 10, 20),
                "cross_attention_dim": 2048,
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
            },
            2048,
            77,
            pooled=1280,
            published=0.22,
        ),
        Shape("flux", "flux", {"guidance_embeds": True}, 4096, 512, pooled=768, published=0.87),
        Shape(
            "tiny-sd15",
            "unet",
            {
                "sample_size": 16,
                "block_out_channels": (16, 16, 32, 32),
                "norm_num_groups": 8,
                "attention_head_dim": 2,
                "cross_attention_dim": 24,
            },
            24,
            77,
        ),
        Shape(
            "tiny-sdxl",
            "unet",
            {
                **_SDXL_FACES,
                "sample_size": 16,
                "block_out_channels": (16, 16, 32),
                "transformer_layers_per_block": (1, 1, 2),
                "norm_num_groups": 8,
                "attention_head_dim": (2, 2, 4),
                "cross_attention_dim": 24,
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 8 * 6 + 16,
            },
            24,
            77,
            pooled=16,
        ),
        Shape(
            "tiny-flux",
            "flux",
            {
                "in_channels": 8,
                "num_layers": 2,
                "num_single_layers": 2,
                "attention_head_dim": 8,
                "num_attention_heads": 2,
                "joint_attention_dim": 24,
                "pooled_projection_dim": 16,
                "guidance_embeds": True,
                "axes_dims_rope": (2, 2, 4),
            },
            24,
            16,
            pooled=16,
        ),
    )
}
"""Full sizes; the tiny ones have the same structure and are for trying the benchmark itself."""


@dataclass
class Subject:
    """A model with inputs for it: what every arm works on. ``resolution``: of the picture, in pixels; ``tokens``: of
    the negative."""

    shape: Shape
    model: nn.Module
    device: torch.device
    dtype: torch.dtype
    resolution: int
    batch: int = 1
    tokens: int = 0
    inputs: Inputs = field(init=False, repr=False)
    negative: Tensor = field(init=False, repr=False)
    negative_pooled: Tensor | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.tokens = self.tokens or self.shape.tokens
        random = torch.Generator().manual_seed(7)

        def normal(*size: int) -> Tensor:
            return torch.randn(size, generator=random).to(self.device, self.dtype)

        shape, side = self.shape, self.resolution // 8
        self.negative = normal(self.tokens, shape.text)
        text = normal(self.batch, shape.tokens, shape.text)
        if shape.kind == "flux":
            self.negative_pooled = normal(shape.pooled)
            channels = int(shape.config.get("in_channels", 64))
            self.inputs = {
                "hidden_states": normal(self.batch, (side // 2) ** 2, channels),
                "encoder_hidden_states": text,
                "pooled_projections": normal(self.batch, shape.pooled),
                "timestep": torch.full((self.batch,), 0.75, device=self.device, dtype=self.dtype),
                "guidance": torch.full((self.batch,), 3.5, device=self.device, dtype=self.dtype),
                "img_ids": _places(side // 2).to(self.device),
                "txt_ids": torch.zeros(shape.tokens, 3, device=self.device),
            }
            return
        self.inputs = {
            "sample": normal(self.batch, 4, side, side),
            "timestep": torch.full((self.batch,), 749.0, device=self.device),
            "encoder_hidden_states": text,
        }
        if shape.pooled:
            times = torch.tensor([[self.resolution, self.resolution, 0, 0, self.resolution, self.resolution]])
            self.inputs["added_cond_kwargs"] = {
                "text_embeds": normal(self.batch, shape.pooled),
                "time_ids": times.repeat(self.batch, 1).to(self.device, self.dtype),
            }

    def forward(self, inputs: Inputs | None = None) -> Tensor:
        """The model's prediction."""
        with torch.no_grad():
            output: Tensor = self.model(**(inputs or self.inputs), return_dict=False)[0]
        return output

    def with_uncond(self) -> Inputs:
        """Inputs of twice the batch, the unconditional half first."""
        return _doubled(self.inputs)


def _doubled(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v if k in ("img_ids", "txt_ids") else _doubled(v) for k, v in value.items()}
    return torch.cat([value, value]) if isinstance(value, Tensor) else value


def _places(side: int) -> Tensor:
    """(side², 3): row and column of each of Flux's image tokens."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.zeros(side, side), rows, columns], -1).reshape(-1, 3).float()


def build(shape: Shape, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The model with random weights whose activations neither vanish nor explode."""
    model = shape.empty().to(dtype).to_empty(device=device)
    if left := [name for name, _ in model.named_buffers()]:
        raise ValueError(f"{shape.name} has buffers that would stay empty: {', '.join(left)}")
    pool = torch.randn(1 << 20, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            _fill(weight, pool, weight[0].numel() ** -0.5)
        else:
            weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return model


def _fill(weight: Tensor, pool: Tensor, size: float) -> None:
    """Random numbers out of a pool, over and over: a billion fresh ones would take minutes."""
    flat, scaled = weight.detach().view(-1), pool * size
    whole = flat.numel() // pool.numel() * pool.numel()
    flat[:whole].view(-1, pool.numel()).copy_(scaled.expand(whole // pool.numel(), -1))
    flat[whole:].copy_(scaled[: flat.numel() - whole])


def fits(shape: Shape, dtype: torch.dtype, free: int) -> bool:
    """True where the weights and half as much again for activations (1 GB at least) go into ``free`` bytes."""
    weights = shape.parameters() * torch.finfo(dtype).bits // 8
    return weights + max(weights // 2, 1 << 30) <= free


def reduced(shape: Shape, dtype: torch.dtype, free: int, most: int) -> Shape:
    """A transformer with as many of its 19 + 38 blocks, in that proportion, as fit, at most ``most`` + 2 x ``most``."""
    for count in range(min(19, most), 1, -1):
        smaller = shape.blocks(count, 2 * count)
        if fits(smaller, dtype, free):
            return smaller
    return shape.blocks(1, 2)


def free_bytes(device: torch.device) -> int:
    """Memory that is free now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 8 << 30
