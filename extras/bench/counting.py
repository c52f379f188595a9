"""What a step asks of the device: operators, attentions, launches, and moments at which it would have to wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "unique_dim", "item")
"""Operators whose result the CPU must read: on a device, each is a synchronisation."""

_FREE = {
    *(
        "view",
        "_unsafe_view",
        "expand",
        "transpose",
        "slice",
        "select",
        "t",
        "unsqueeze",
        "squeeze",
        "permute",
        "alias",
    ),
    *("detach", "split", "chunk", "unbind", "as_strided", "reshape", "narrow", "split_with_sizes", "unfold"),
    *("empty", "new_empty", "empty_like", "empty_strided", "promote_types", "device"),
}


class Counted(TorchDispatchMode):
    """Counts operators by name while it is in force."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.to_cpu = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        self.names[name] += 1
        if (
            name == "_to_copy"
            and args[0].device.type != "cpu"
            and torch.device(kwargs.get("device") or "cuda").type == "cpu"
        ):
            self.to_cpu += 1
        return func(*args, **kwargs)

    @property
    def operators(self) -> int:
        """That compute or copy; views and empty memory cost nothing on a device."""
        return sum(count for name, count in self.names.items() if name not in _FREE)

    @property
    def attentions(self) -> int:
        return sum(count for name, count in self.names.items() if "scaled_dot_product" in name)

    @property
    def waits(self) -> int:
        return self.to_cpu + sum(self.names[name] for name in WAITS)

    @property
    def projections(self) -> int:
        """Matrix products with weights."""
        return sum(self.names[name] for name in ("addmm", "mm", "linear", "bmm", "baddbmm"))


def counted(step: Callable[[], object]) -> Counted:
    """The counts of one step."""
    with Counted() as counts:
        step()
    return counts


def launches(step: Callable[[], object], device: torch.device) -> dict[str, int] | None:
    """Kernel launches and synchronisations of one step, by the profiler; None without CUDA."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize(device)  # ours, taken off below
    names: Counter[str] = Counter(event.name for event in profiler.events())
    synced = sum(count for name, count in names.items() if "Synchronize" in name)
    return {
        "launches": sum(count for name, count in names.items() if "LaunchKernel" in name),
        "copies": sum(count for name, count in names.items() if name.startswith("cudaMemcpy")),
        "synchronisations": max(0, synced - 1),
    }


def hot_spots(step: Callable[[], object], base: Callable[[], object], most: int = 8) -> list[tuple[str, float, int]]:
    """Where the time of ``step`` goes beyond that of ``base``: (operator, seconds, calls), largest first."""
    from torch.profiler import profile

    def by_name(what: Callable[[], object]) -> dict[str, tuple[float, int]]:
        with profile() as profiler:
            what()
        found = {}
        for row in profiler.key_averages():
            device = getattr(row, "self_device_time_total", 0)
            found[row.key] = ((device or row.self_cpu_time_total) / 1e6, row.count)
        return found

    base_of, mine = by_name(base), by_name(step)
    extra = []
    for name, (seconds, calls) in mine.items():
        before, times = base_of.get(name, (0.0, 0))
        if calls > times:
            # as long per call as in the step itself: the other calls of the same name are the model's own
            extra.append((name, seconds - before, calls - times))
    return sorted(extra, key=lambda row: -row[1])[:most]
