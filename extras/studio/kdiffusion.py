"""k-diffusion's sampling module, without the training dependencies its package import pulls in.

``import k_diffusion`` needs torchvision, wandb, clip and kornia; its ``sampling`` module needs torch,
torchsde, torchdiffeq, scipy, tqdm and one helper. So the package object is made from its spec and not
executed, and its ``utils`` is replaced by that helper. If the whole package is loaded already, it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
import warnings

import torch


def append_dims(x: torch.Tensor, target_dims: int) -> torch.Tensor:
    """``x`` with as many dimensions of size 1 at the end as make ``target_dims``."""
    if target_dims < x.ndim:
        raise ValueError(f"input has {x.ndim} dims but target_dims is {target_dims}, which is less")
    return x[(...,) + (None,) * (target_dims - x.ndim)]


def _load():
    if "k_diffusion.sampling" in sys.modules:
        return sys.modules["k_diffusion.sampling"]
    if "k_diffusion" not in sys.modules:
        spec = importlib.util.find_spec("k_diffusion")
        if spec is None:
            raise ImportError("k-diffusion is not installed: pip install --no-deps k-diffusion")
        sys.modules["k_diffusion"] = importlib.util.module_from_spec(spec)
    if "k_diffusion.utils" not in sys.modules:
        utils = types.ModuleType("k_diffusion.utils")
        utils.append_dims = append_dims
        sys.modules["k_diffusion.utils"] = sys.modules["k_diffusion"].utils = utils
    return importlib.import_module("k_diffusion.sampling")


sampling = _load()
# a sigma that is the Brownian interval's end but for the last float32 digit: clamped, and nothing to worry about
warnings.filterwarnings("ignore", message="Should have t[ab]", category=UserWarning, module=r"torchsde\..*")


class _TorchWithNoise:
    """Looks like torch, but `randn_like` draws from the run's own generators."""

    def __init__(self, draw):
        self._draw = draw

    def __getattr__(self, name):
        return getattr(torch, name)

    def randn_like(self, x, *args, **kwargs):
        return self._draw().to(device=x.device, dtype=x.dtype)


@contextlib.contextmanager
def noise_from(draw):
    """While open, k-diffusion's samplers take their noise from ``draw()``, a (B, C, H, W) tensor per call."""
    before = sampling.torch
    sampling.torch = _TorchWithNoise(draw)
    try:
        yield
    finally:
        sampling.torch = before


def randn_like(x: torch.Tensor) -> torch.Tensor:
    """Noise from where `noise_from` says, for samplers that are not k-diffusion's."""
    return sampling.torch.randn_like(x)
