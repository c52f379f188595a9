"""LoRA files: which there are in a folder, and the low-rank factors of one. Safetensors only, never unpickled.

Known are kohya's names (`lora_unet_…lora_down.weight`, `.lora_up.weight`, `.alpha`), with the modules in diffusers' or
ldm's notation, and those of diffusers and PEFT (`unet.…` or `transformer.….lora_A.weight`, `….lora.down.weight`,
`….processor.to_q_lora.down.weight`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from extras.studio.checkpoint_files import CheckpointError, read_header, read_tensors

_PREFIXES = (  # what a name begins with -> the part of the model
    ("lora_unet_", "unet"),
    ("lora_te1_", "te"),
    ("lora_te2_", "te2"),
    ("lora_te_", "te"),
    ("unet.", "unet"),
    ("transformer.", "unet"),
    ("text_encoder_2.", "te2"),
    ("text_encoder.", "te"),
    ("diffusion_model.", "unet"),
)
_SUFFIXES = (  # what it ends with -> which factor
    (re.compile(r"\.(lora_down|lora_A|lora\.down|lora_A\.default)\.weight$"), "down"),
    (re.compile(r"\.(lora_up|lora_B|lora\.up|lora_B\.default)\.weight$"), "up"),
    (re.compile(r"_lora\.down\.weight$"), "down"),
    (re.compile(r"_lora\.up\.weight$"), "up"),
    (re.compile(r"\.alpha$"), "alpha"),
)
Place = tuple[str, str]  # ("unet", "te" or "te2"; the module's name with _ for .)


class LoraError(ValueError):
    """A LoRA that cannot be used. The message names the file and what is wrong."""


@dataclass(frozen=True)
class Factors:
    """One module's change: scale · up · down. down: (rank, in, …), up: (out, rank, …)."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True)
class LoraFile:
    """``hash``: A1111's, 12 digits. ``parts``: place -> factors. ``foreign``: tensors of a form not known here."""

    path: Path
    hash: str
    metadata: Mapping[str, str]
    parts: Mapping[Place, Factors]
    foreign: tuple[str, ...]


def list_files(folder: Path) -> dict[str, Path]:
    """Name (without ending) -> file, for every .safetensors in the folder or below. Links that lead out of it are
    left out."""
    root = Path(folder).resolve()
    if not root.is_dir():
        return {}
    files = sorted(path for path in root.rglob("*.safetensors") if path.is_file())
    return {path.stem: path for path in files if root in path.resolve().parents}


def read(path: Path) -> LoraFile:
    """Open one file. LoraError where it is damaged, unsafe, or no LoRA."""
    try:
        _, metadata = read_header(path)
        tensors = read_tensors(path)
    except CheckpointError as error:
        raise LoraError(f"LoRA {path.name}: {error.problem}") from None
    found: dict[Place, dict[str, Tensor]] = {}
    foreign = []
    for key, tensor in tensors.items():
        place, factor = place_of(key)
        if factor:
            found.setdefault(place, {})[factor] = tensor
        else:
            foreign.append(key)
    parts = {}
    for place, factors in found.items():
        down, up = factors.get("down"), factors.get("up")
        if down is None or up is None or down.dim() not in (2, 4) or down.shape[0] != up.shape[1]:
            foreign += [f"{place[1]}.{name}" for name in factors]
            continue
        alpha = float(factors["alpha"]) if "alpha" in factors else float(down.shape[0])
        parts[place] = Factors(down, up, alpha / down.shape[0])
    if not parts:
        raise LoraError(f"LoRA {path.name}: it has no pair of low-rank factors (lora_down, lora_up) that is known here")
    return LoraFile(path, metadata.get("sshs_model_hash", _content_hash(path))[:12], metadata, parts, tuple(foreign))


def place_of(key: str) -> tuple[Place, str]:
    """((part, module), "down", "up" or "alpha") of a tensor's name; the last is "" where the form is not known."""
    part, name = next(((p, key[len(start) :]) for start, p in _PREFIXES if key.startswith(start)), ("unet", key))
    for pattern, factor in _SUFFIXES:
        if pattern.search(name):
            module = pattern.sub("", name).replace(".processor.", ".").replace(".", "_")
            return (part, re.sub(r"(?<=_to)_out$", "_out_0", module)), factor
    return (part, name), ""


def _content_hash(path: Path) -> str:
    """SHA-256 of what follows the header: the same for files that differ in metadata only."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        file.seek(8 + length)
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
