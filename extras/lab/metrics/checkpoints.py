"""Checkpoints that the user names: opened from a folder, safetensors only, nothing is ever downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from .metric import Absent

T = TypeVar("T")


def opened(folder: str, load: Callable[[Path], T]) -> T | Absent:
    """What `load` makes of a folder with config.json and safetensors, or why it cannot be had."""
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        return Absent(f"no checkpoint at {folder} (a folder with config.json and safetensors is needed)")
    if not any(path.glob("*.safetensors")):
        return Absent(f"no safetensors at {folder}; other kinds of weights are not opened")
    try:
        return load(path)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        return Absent(f"the checkpoint at {folder} cannot be opened: {str(error).splitlines()[0][:200]}")


def device() -> str:
    """Where measuring models run."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def config(path: Path) -> dict[str, Any]:
    """The folder's config.json."""
    return json.loads((path / "config.json").read_text(encoding="utf-8"))


remembered = lru_cache(maxsize=4)
"""For loaders: a run uses the same few checkpoints for every picture."""
