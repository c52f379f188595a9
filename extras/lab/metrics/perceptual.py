"""LPIPS (Zhang et al. 2018): distance in the features of AlexNet or VGG-16, whole picture and background only.

The features' weights are a safetensors file that the user names, under torchvision's names (`features.0.weight` …),
as torchvision publishes them; torchvision itself is not needed. The layers' learnt weights come with torchmetrics.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from . import presence
from .checkpoints import remembered
from .metric import Absent, Spec

NONE = Absent("no weights for LPIPS were named")
LEAST_SIDE = 32
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS' own scaling of [-1, 1]
Conv = tuple[int, int, int, int]  # channels, kernel, stride, padding; POOL between
POOL_ALEX, POOL_VGG = "pool 3", "pool 2"
LAYOUTS: dict[str, list[Conv | str]] = {
    "alex": [(64, 11, 4, 2), POOL_ALEX, (192, 5, 1, 2), POOL_ALEX, (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)],
    "vgg": [
        *[(64, 3, 1, 1)] * 2, POOL_VGG, *[(128, 3, 1, 1)] * 2, POOL_VGG, *[(256, 3, 1, 1)] * 3, POOL_VGG,
        *[(512, 3, 1, 1)] * 3, POOL_VGG, *[(512, 3, 1, 1)] * 3,
    ],
}  # fmt: skip
TAPS = {"alex": (2, 5, 8, 10, 12), "vgg": (4, 9, 16, 23, 30)}  # features are read before these layers


class Lpips(nn.Module):
    """The distance. Call with two pictures, float (1, 3, H, W) in [-1, 1]."""

    def __init__(self, net: str):
        super().__init__()
        self.taps = TAPS[net]
        self.features = nn.Sequential(*_layers(LAYOUTS[net]))
        self.register_buffer("shift", torch.tensor(SHIFT)[None, :, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[None, :, None, None])
        self.weighting: list[torch.Tensor] = []

    def maps(self, first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
        """One weighted map of squared differences a layer, (h, w) each; LPIPS is the sum of their means."""
        found = []
        for one, other, weight in zip(self._read(first), self._read(second), self.weighting, strict=True):
            found.append((weight * (_unit(one) - _unit(other)) ** 2).sum(1)[0])
        return found

    def _read(self, picture: torch.Tensor) -> list[torch.Tensor]:
        x, found = (picture - self.shift) / self.scale, []
        for place, layer in enumerate(self.features):
            if place in self.taps:
                found.append(x)
            x = layer(x)
        return [*found, x] if len(self.features) in self.taps else found


def lpips(picture: Image.Image, twin: Image.Image, spec: Spec) -> float | Absent:
    """LPIPS to the untreated picture, from 0; lower: more alike."""
    maps = _maps(picture, twin, spec)
    return maps if isinstance(maps, Absent) else float(sum(each.mean() for each in maps))


def lpips_background(picture: Image.Image, twin: Image.Image, spec: Spec) -> float | Absent:
    """The same outside the target as the untreated picture has it."""
    where, maps = presence.region(twin, spec), _maps(picture, twin, spec)
    if isinstance(where, Absent) or isinstance(maps, Absent):
        return where if isinstance(where, Absent) else maps
    if where.all():
        return Absent("the target fills the untreated picture: there is no background")
    size = (picture.height, picture.width)
    full = sum(F.interpolate(each[None, None], size, mode="bilinear", align_corners=False)[0, 0] for each in maps)
    return float(full[torch.from_numpy(~where)].mean())


@torch.no_grad()
def _maps(picture: Image.Image, twin: Image.Image, spec: Spec) -> list[torch.Tensor] | Absent:
    file = spec.get("lpips")
    if not file:
        return NONE
    if min(picture.size) < LEAST_SIDE:
        return Absent(f"{min(picture.size)} pixels are too few for LPIPS")
    net = load(str(file))
    return net if isinstance(net, Absent) else net.maps(_tensor(picture), _tensor(twin))


@remembered
def load(file: str) -> Lpips | Absent:
    """The network with the weights of a safetensors file; AlexNet or VGG-16 is told from its shapes."""
    path = Path(file).expanduser()
    if path.suffix != ".safetensors" or not path.is_file():
        return Absent(f"no safetensors file at {file}")
    import torchmetrics
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
        first = tuple(weights["features.0.weight"].shape)
        net = {(64, 3, 11, 11): "alex", (64, 3, 3, 3): "vgg"}[first]
        model = Lpips(net)
        model.features.load_state_dict(
            {k.removeprefix("features."): v.float() for k, v in weights.items() if k.startswith("features.")}
        )
    except Exception as error:  # whatever a wrong file raises, the metric is absent and the run goes on
        return Absent(f"the weights in {file} are neither AlexNet's nor VGG-16's: {str(error).splitlines()[0][:120]}")
    heads = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / f"{net}.pth"
    learnt = torch.load(heads, weights_only=True, map_location="cpu")
    model.weighting = [learnt[name].float() for name in sorted(learnt)]
    return model.eval()


def _layers(layout: list[Conv | str]) -> list[nn.Module]:
    made: list[nn.Module] = []
    channels = 3
    for each in layout:
        if isinstance(each, str):
            made.append(nn.MaxPool2d(int(each.split()[1]), 2))
        else:
            out, kernel, stride, padding = each
            made += [nn.Conv2d(channels, out, kernel, stride, padding), nn.ReLU()]
            channels = out
    return made


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features / torch.sqrt(1e-8 + (features**2).sum(1, keepdim=True))


def _tensor(picture: Image.Image) -> torch.Tensor:
    pixels = np.array(picture.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
