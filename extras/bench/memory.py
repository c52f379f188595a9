"""The most memory that a generation holds beyond what is there before it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from .arms import Arm


def peak(make: Callable[[], Arm], device: torch.device, steps: int = 1) -> int:
    """Bytes. ``make``: the arm is made inside the measurement, since what it keeps counts too. ``steps``: 2 where the
    first leaves something behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _generation(make, steps)
        return int(torch.cuda.max_memory_allocated(device) - before)
    return _peak_on_cpu(make, steps)


def _generation(make: Callable[[], Arm], steps: int) -> None:
    arm = make()
    for _ in range(steps):
        arm.ready()
        try:
            arm.step()
        finally:
            arm.rest()
    arm.close()


def _peak_on_cpu(make: Callable[[], Arm], steps: int) -> int:
    """By the profiler's record of every allocation."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        _generation(make, steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text("utf-8"))["traceEvents"]
    changes = [
        (event["ts"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"].get("Device Type") == 0
    ]
    held = most = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        held += size
        most = max(most, held)
    return most
