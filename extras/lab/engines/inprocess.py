"""The Studio in this process: its engine, its samplers, the extension loaded as in any WebUI.

On a CPU one thread draws: pixels must not depend on how many cores a machine has. Several processes do the work of
several cores (engine ray).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..cells import Cell, Checkpoint
from ..errors import LabError
from . import Result
from .answers import failed, results_of
from .requests import body_of

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"


class InProcess:
    """``studio``: a loaded `extras.studio.engine.Engine`, where there is one already (the page's)."""

    name = "inprocess"

    def __init__(self, studio: Any = None, models: Path = MODELS):
        self.studio, self.models = studio, Path(models)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._warm: set[tuple[Any, ...]] = set()

    def versions(self) -> dict[str, str]:
        return studio_versions()

    def checkpoint(self, name: str) -> Checkpoint:
        path = find_checkpoint(name, self.models)
        return Checkpoint(path.name if path.parent == self.models else str(path), sha256_of(path))

    def draw(self, groups: Iterable[list[Cell]]) -> Iterator[list[Result]]:
        for group in groups:
            yield self.draw_group(group)

    def draw_group(self, group: list[Cell]) -> list[Result]:
        """One group's results. LabError where the Studio cannot be loaded."""
        from extras.studio.checkpoint_files import CheckpointError
        from extras.studio.fields import FieldError

        studio = self._load()
        body = body_of(group)
        try:
            with one_thread():
                self._warm_up(group[0], body)
                forget_peak()
                began = time.perf_counter()
                images, infotexts = _txt2img(studio, body)
                seconds = time.perf_counter() - began
        except (FieldError, CheckpointError, ValueError, RuntimeError, FileNotFoundError) as error:
            return failed(group, f"{type(error).__name__}: {error}")
        return results_of(group, images, infotexts, seconds, peak_mb())

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = self.studio = None

    def _load(self) -> Any:
        if self.studio is None:
            from extras.studio.checkpoint_files import CheckpointError
            from extras.studio.engine import Engine

            self._scratch = tempfile.TemporaryDirectory(prefix="nag-time-lab-")
            try:
                self.studio = Engine(self.models, ROOT, self._scratch.name).load()
            except (CheckpointError, FileNotFoundError) as error:
                raise LabError(f"the Studio cannot be loaded: {error}") from None
        return self.studio

    def _warm_up(self, cell: Cell, body: dict[str, Any]) -> None:
        """The first picture of a model and size is slower than all others, and is drawn before the clock starts."""
        from modules import sd_models

        if os.path.isabs(cell.spec["checkpoint"]):
            sd_models.add_checkpoint(cell.spec["checkpoint"])
        kind = tuple(cell.spec[k] for k in ("checkpoint", "width", "height", "batch"))
        if kind not in self._warm:
            self._warm.add(kind)
            _txt2img(self.studio, {**body, "steps": 2, "alwayson_scripts": {}})


def _txt2img(studio: Any, body: dict[str, Any]) -> tuple[list[Any], list[str]]:
    from extras.studio.api_requests import read_request, script_args_of

    fields, values = read_request(studio, "txt2img", body)
    processed = studio.txt2img(fields, script_args_of(studio, "txt2img", body, values), is_api=True)
    return processed.images, processed.infotexts


def find_checkpoint(name: str, models: Path = MODELS) -> Path:
    """The file of a plan's checkpoint: a path, or a name in models/ with or without its ending."""
    for path in (Path(name), models / name, models / f"{name}.safetensors"):
        if path.is_file():
            return path.resolve()
    known = ", ".join(sorted(p.stem for p in models.glob("*.safetensors"))) or "none"
    raise LabError(f"checkpoint: {name!r} is no file, and {models} has: {known}")


def sha256_of(path: Path) -> str:
    """Of a file; kept while it does not change."""
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def studio_versions() -> dict[str, str]:
    """What the Studio's pixels depend on beside the plan."""
    from importlib.metadata import version

    packages = {name: version(name) for name in ("torch", "diffusers", "k-diffusion")}
    return {"engine": "studio", "machine": platform.machine(), **packages}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch on the CPU computes on one thread in here."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forget_peak() -> None:
    """Start measuring the peak of memory anew."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float | None:
    """MiB at the peak since then: of the GPU, else of the process (Linux); None where the system does not tell."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None
