"""Time inside the attention layers of a UNet, step by step, by their kind.

What guidance adds happens inside them; all else is the same work in every arm. So the share of the layers in a step
says what guidance costs without comparing two long times that differ by little, and what disturbs a step disturbs both
parts. The kinds are apart since a method acts in one of them: the fewer layers are looked at, the less disturbs.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from extras.nag.layers import find_layers


class Meter:
    """``seconds``: layers' kind -> processor time in them since reset(), on a CPU."""

    def __init__(self, model: nn.Module):
        self.seconds: dict[str, float] = {}
        self._began = 0.0
        self._handles: list[RemovableHandle] = []
        for layer in find_layers(model):
            self._handles.append(layer.attn.register_forward_pre_hook(self._enter))
            self._handles.append(layer.attn.register_forward_hook(partial(self._leave, layer.kind)))

    def reset(self) -> None:
        self.seconds = {}

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._began = time.process_time()

    def _leave(self, kind: str, module: nn.Module, args: Any, output: Any) -> None:
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.process_time() - self._began
