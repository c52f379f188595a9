"""Where tensors live, and in what precision."""

from __future__ import annotations

import contextlib
import gc

import torch

cpu = torch.device("cpu")
device = cpu
dtype = torch.float32
dtype_vae = torch.float32
dtype_unet = torch.float32
unet_needs_upcast = False
fp8 = False


class NansException(Exception):
    """Every value of a latent or picture is NaN."""


def get_optimal_device() -> torch.device:
    """The first CUDA device when there is one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else cpu


def autocast(disable: bool = False):
    """No mixed precision is used here: a context that does nothing."""
    return contextlib.nullcontext()


def without_autocast(disable: bool = False):
    return contextlib.nullcontext()


def cond_cast_float(tensor):
    return tensor.float()


def cond_cast_unet(tensor):
    return tensor.to(dtype_unet)


def torch_gc() -> None:
    """Give unused accelerator memory back. On the CPU there is nothing to do."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def test_for_nans(x: torch.Tensor, where: str) -> None:
    """Raises NansException when all of ``x`` is NaN; ``where`` is "unet" or "vae"."""
    if torch.all(torch.isnan(x)).item():
        name = {"unet": "the UNet", "vae": "the VAE"}.get(where, where)
        raise NansException(f"A tensor with only NaNs was produced in {name}: the picture would be black.")
