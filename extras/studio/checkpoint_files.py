"""Opens a safetensors file safely: every way in which it can be wrong has a message that names the file.

No file is ever unpickled. What is allowed: one .safetensors file of a complete SD 1.x, SD 2.x, SDXL (or its
refiner) or doodle model in the CompVis (single-file) layout; folders are pipeline_folders.py's.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

ALLOWED = (
    "allowed is one complete .safetensors file of an SD 1.x, SD 2.x or SDXL model (or a model trained "
    "here), in the single-file layout of Stable Diffusion WebUIs, or a folder in diffusers' layout of Flux, "
    "SD3 or Chroma"
)
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
MAX_HEADER = 100 * 1024 * 1024


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The message names the file, what is wrong and what is allowed."""

    def __init__(self, path, problem: str):
        self.path, self.problem = Path(path), problem
        super().__init__(f"Checkpoint {self.path.name}: {problem}; {ALLOWED}.")


def _pickle_problem(first: bytes) -> str | None:
    if first[:4] == b"PK\x03\x04":
        return "it is a zip archive, as torch.save writes it: a pickle, which can run code when opened, is never read"
    if first[:1] == b"\x80" and len(first) > 1 and 2 <= first[1] <= 5:
        return "it is a pickle, which can run code when opened and is never read"
    return None


def read_header(path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """({tensor name: shape}, metadata) of a safetensors file, without reading a tensor.

    Raises CheckpointError for a missing, truncated, damaged or unsafe file.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(path, f"there is no file at {path}")
    if not path.is_file():
        raise CheckpointError(path, "it is not a file")
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if problem := _pickle_problem(first):
            raise CheckpointError(path, problem)
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise CheckpointError(
                path, f"{path.suffix} files are pickles, which can run code when opened, and are never read"
            )
        if path.suffix.lower() != ".safetensors":
            raise CheckpointError(path, f"its name ends in {path.suffix or 'nothing'}")
        if len(first) < 8:
            raise CheckpointError(path, f"it is truncated: {size} bytes")
        length = struct.unpack("<Q", first)[0]
        if length > MAX_HEADER:
            raise CheckpointError(path, "it is not a safetensors file (its header length makes no sense)")
        if length + 8 > size:
            raise CheckpointError(path, f"it is truncated: {size} bytes, of which the header alone needs {length + 8}")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", None) or {}
            shapes = {name: tuple(info["shape"]) for name, info in header.items()}
            end = max((info["data_offsets"][1] for info in header.values()), default=0)
        except Exception:
            raise CheckpointError(path, "it is not a safetensors file (its header cannot be read)") from None
    if length + 8 + end != size:
        what = "truncated" if length + 8 + end > size else "damaged"
        raise CheckpointError(path, f"it is {what}: {size} bytes instead of {length + 8 + end}")
    return shapes, metadata


def read_yaml(path) -> dict:
    """The CompVis yaml beside the checkpoint (same name, .yaml) or {}. CheckpointError when unreadable."""
    import yaml

    path = Path(path)
    beside = path.with_suffix(".yaml")
    if not beside.is_file():
        return {}
    try:
        content = yaml.safe_load(beside.read_text("utf8"))
        return content if isinstance(content, dict) else {}
    except Exception:
        raise CheckpointError(path, f"the file {beside.name} beside it is not valid yaml") from None


def is_flux_doodle(path) -> bool:
    """Whether the file is the doodle in Flux's layout (flux_doodle.py). Raises what read_header() does."""
    return "words" in read_header(path)[1]


def read_tensors(path) -> dict:
    """{name: tensor} of a file that `read_header` has accepted."""
    from safetensors.torch import load_file

    try:
        return load_file(str(path), device="cpu")
    except Exception as error:
        raise CheckpointError(path, f"it cannot be read ({error})") from None
