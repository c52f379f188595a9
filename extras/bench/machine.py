"""What the numbers were taken on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """JSON-ready."""
    about: dict[str, Any] = {
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": "cpu",
    }
    if device.type == "cuda":
        about["device"] = torch.cuda.get_device_name(device)
        about["cuda"] = torch.version.cuda
    return about


def load() -> float | None:
    """Processes that want a core, averaged over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        wide = [
            flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in facts.get("flags", "").split()
        ]
        return f"{facts['model name']} ({', '.join(wide)})" if wide else facts["model name"]
    except (OSError, KeyError):
        return platform.processor() or platform.machine()
