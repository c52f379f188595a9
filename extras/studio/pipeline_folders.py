"""A folder in diffusers' layout (model_index.json and a folder for each part): recognised and checked, nothing is run.

Flux, SD3 and Chroma are published so, with the tokenizers and settings that their weights alone do not say.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from extras.studio.checkpoint_files import CheckpointError, is_flux_doodle

INDEX = "model_index.json"
KINDS = {"FluxPipeline": "flux", "StableDiffusion3Pipeline": "sd3", "ChromaPipeline": "chroma"}
_LIBRARIES = ("diffusers", "transformers")
_SUFFIX = ".safetensors"
_HEAD = 1 << 20  # bytes of a file that go into the fingerprint


def is_pipeline(path) -> bool:
    """Whether the path is such a folder, of whatever model."""
    return (Path(path) / INDEX).is_file()


def is_flow(path) -> bool:
    """Whether a checkpoint is a rectified flow: one of these folders, or the doodle in Flux's layout."""
    return is_pipeline(path) or is_flux_doodle(path)


def inspect(path) -> str:
    """Name of diffusers' pipeline class, one of KINDS. CheckpointError for what is not known, or not safe to open."""
    path = Path(path)
    try:
        index = json.loads((path / INDEX).read_text("utf8"))
        name = index["_class_name"]
        parts = {part: about for part, about in index.items() if not part.startswith("_")}
    except (OSError, ValueError, TypeError, KeyError):
        raise CheckpointError(path, f"its {INDEX} cannot be read") from None
    if name not in KINDS:
        raise CheckpointError(
            path, f"it is a folder for {name!r}, and of folders only {', '.join(KINDS)} are opened here"
        )
    for part, about in parts.items():
        if not isinstance(about, list):
            continue  # a number or switch of the pipeline itself
        library = about[0] if about else None
        if library not in (*_LIBRARIES, None):
            raise CheckpointError(path, f"its part {part} wants code from {library!r}, and no foreign code is run")
        if Path(part).name != part or not (path / part).resolve().is_relative_to(path.resolve()):
            raise CheckpointError(path, f"its part {part!r} lies outside the folder")
    for part in ("transformer", "vae"):
        if not any((path / part).glob(f"*{_SUFFIX}")):
            raise CheckpointError(path, f"its {part} has no {_SUFFIX} file (pickles are never read)")
    return name


def fingerprint(path) -> str:
    """SHA-256, as hex, of the names, sizes and beginnings of the folder's files."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(f for f in path.rglob("*") if f.suffix in (_SUFFIX, ".json") and f.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_HEAD))
    return digest.hexdigest()
