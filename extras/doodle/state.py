"""Training state on disk: safetensors only, written whole or not at all, so that a killed training resumes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def save_state(
    path: Path, modules: dict[str, torch.nn.Module], optimizer: torch.optim.Optimizer | None, meta: dict[str, Any]
) -> None:
    """Write modules and optimizer moments to `path` (atomically: a kill leaves the previous state)."""
    tensors: dict[str, torch.Tensor] = {}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"{name}/{key}"] = value.detach().clone().contiguous()
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer/{index}/{key}"] = torch.as_tensor(value).detach().clone().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, str(partial), metadata={"meta": json.dumps(meta)})
    os.replace(partial, path)


def load_state(
    path: Path, modules: dict[str, torch.nn.Module], optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Read what `save_state` wrote into the given modules (those named; others in the file are ignored). Returns
    meta."""
    with safe_open(str(path), framework="pt") as file:
        meta = json.loads(file.metadata()["meta"])
        keys = list(file.keys())
        for name, module in modules.items():
            prefix = f"{name}/"
            module.load_state_dict({k[len(prefix) :]: file.get_tensor(k) for k in keys if k.startswith(prefix)})
        if optimizer is not None:
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key in keys:
                if key.startswith("optimizer/"):
                    _, index, field = key.split("/")
                    state.setdefault(int(index), {})[field] = file.get_tensor(key)
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return meta


def rate(progress: float, peak: float) -> float:
    """Linear warm-up over the first 3 %, cosine to 3 % of the peak."""
    if progress < 0.03:
        return peak * max(progress / 0.03, 0.01)
    return peak * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Ema:
    """Exponential moving average of a module's parameters; decay warms up so that early averages are not the noise."""

    def __init__(self, module: torch.nn.Module, decay: float):
        import copy

        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: torch.nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        own, new = list(self.module.parameters()), [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(own, new, 1 - decay)
