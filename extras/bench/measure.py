"""One model, everything: identity, counts, memory, turns, and where the time goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from . import arms, counting, memory
from .arms import ALONE, BASE, CFG_STEP, COMPILED, DUPLICATE, FILLED, FUSED, NAG, OFF, OUTSIDE, SHARED, TPG, Arm
from .floor import floor, kept
from .machine import load
from .meter import Meter
from .report import title
from .shapes import Shape, Subject, build
from .timing import Spread, Times, one_step, share, take_turns

Record = dict[str, Any]
Say = Callable[[str], None]
COUNTED = ("operators", "attentions", "projections", "waits")
SELDOM = (SHARED, TPG, CFG_STEP)
ROUNDING = 0.05  # a change of the whole prediction that is no more: bfloat16, random weights


@dataclass(frozen=True)
class Plan:
    """``seconds``: until when new rounds begin, for each model. ``memory``: measure it too. ``steps``: the ways to be
    compared, None for all."""

    device: torch.device
    rounds: int = 15
    seconds: float | None = None
    memory: bool = True
    steps: Sequence[str] | None = None


def measure(shape: Shape, dtype: torch.dtype, resolution: int, plan: Plan, say: Say, batch: int = 1) -> Record:
    """JSON-ready. Raises RuntimeError where a step that must not change the picture does, or one that must does not."""
    began = time.monotonic()
    subject = Subject(shape, build(shape, plan.device, dtype), plan.device, dtype, resolution, batch)
    untouched = subject.forward()
    flux = shape.kind == "flux"
    record: Record = {
        "model": shape.name,
        "kind": shape.kind,
        "parameters": shape.parameters(),
        "dtype": str(dtype).removeprefix("torch."),
        "resolution": resolution,
        "batch": batch,
        "tokens": subject.tokens,
        "published": shape.published,
        "blocks": [shape.config.get(name, 0) for name in ("num_layers", "num_single_layers")] if flux else None,
        "load": [load()],
        "floor": floor(shape, resolution, batch).to_dict(),
        "kept": asdict(kept(shape, resolution, dtype, batch)),
    }
    say(f"{shape.name}: {title(record)}; arithmetic adds {record['floor']['share']:.2%}")
    every = arms.arms(subject, plan.steps)
    try:
        record["not_fused"] = _without_kernel(every)
        record["arms"] = _abouts(every, untouched)
        say(f"{shape.name}: what must act acts, what must not does not")
        until = None if plan.seconds is None else began + plan.seconds
        told: Callable[[int, Times], None] = lambda n, so_far: say(_line(shape, n, so_far))  # noqa: E731
        meter = None if flux or plan.device.type != "cpu" else Meter(subject.model)
        try:
            times = take_turns(every, plan.rounds, until, told, SELDOM, meter)
        finally:
            if meter is not None:
                meter.close()
        for name in every:
            record["arms"][name].update(_timed(times, name, every[name].kind))
        record["rounds"] = len(times.busy[BASE])
        ours = [name for name in (NAG, FUSED) if name in every]
        plain = _ratios(times, DUPLICATE)
        record["to_duplicate"] = {name: share(_ratios(times, name), plain) for name in ours}
        record["once_seconds"] = _once(every[NAG], subject)
        record["hot"] = _hot(every)
    finally:
        for arm in every.values():
            arm.close()
    if not arms.clean(subject):
        raise RuntimeError(f"{shape.name}: hooks are left in the model")
    if plan.memory:
        record["peaks"] = _peaks(subject)
    record["load"].append(load())
    return record


def _peaks(subject: Subject) -> dict[str, int]:
    makers: dict[str, Callable[[], Arm]] = {BASE: lambda: Arm(BASE, subject), NAG: lambda: arms.nag(subject)}
    if subject.shape.kind == "unet":
        makers[DUPLICATE] = lambda: arms.Plain(DUPLICATE, subject, arms.plain_unet.DuplicateBatch)
    else:
        makers[DUPLICATE] = lambda: arms.PlainFlux(DUPLICATE, subject)
    return {name: memory.peak(make, subject.device, 2 if name == NAG else 1) for name, make in makers.items()}


def _abouts(every: dict[str, Arm], untouched: Tensor) -> dict[str, Record]:
    """Of each arm: its picture against that of the model before anything of ours was in it, and its counts."""
    found: dict[str, Record] = {}
    outputs: dict[str, Tensor] = {}
    one_step(every[NAG])  # its first step also projects the negative
    for name, arm in every.items():
        arm.ready()
        counts = None
        try:
            if name in COMPILED:  # while operators are counted torch runs no compiled code
                outputs[name] = arm.step()
            else:
                counts = counting.counted(lambda arm=arm, name=name: outputs.update({name: arm.step()}))
        finally:
            arm.rest()
        found[name] = {
            "what": arms.WHAT[name],
            "identical": bool(torch.equal(outputs[name], untouched)),
            "change": _relative(outputs[name], untouched),
            **{what: getattr(counts, what, None) for what in COUNTED},
        }
        arm.ready()
        try:
            found[name] |= counting.launches(arm.step, arm.subject.device) or {}
        finally:
            arm.rest()
    found[NAG]["from_duplicate"] = _relative(outputs[NAG], outputs[DUPLICATE])
    _check(found)
    return found


def _relative(one: Tensor, other: Tensor) -> float:
    one, other = one.double(), other.double()
    return float((one - other).abs().sum() / other.abs().sum())


def _check(found: dict[str, Record]) -> None:
    same, rounded = {BASE, OFF, OUTSIDE}, {ALONE, FILLED} & found.keys()
    for name in same:
        if not found[name]["identical"]:
            raise RuntimeError(f"{name}: the prediction is not that of the untouched model")
    for name in rounded:
        if found[name]["change"] > ROUNDING:
            raise RuntimeError(f"{name}: the prediction is not that of the untouched model but for rounding")
    for name in found.keys() - {*same, *rounded, CFG_STEP}:
        if found[name]["change"] < 1e-3:
            raise RuntimeError(f"{name}: does not act")


def _timed(times: Times, name: str, kind: str) -> Record:
    found: Record = {
        "ratio": asdict(times.spread(name)),
        "seconds": statistics.median(times.busy[name].values()),
        "wall_seconds": statistics.median(times.wall[name].values()),
        "ratios": [round(ratio, 5) for ratio in times.ratios(name)],
    }
    layers = times.by_layers(name, kind) if kind else []
    return found | ({"by_layers": asdict(Spread.of(layers))} if layers else {})


def _without_kernel(every: dict[str, Arm]) -> str:
    """Why nothing is fused on this machine, where that is so: the arms are gone then. Else the kernel is compiled
    now."""
    notes = []
    for name in [name for name in COMPILED if name in every]:
        arm = every[name]
        assert isinstance(arm, arms.Guided)
        one_step(arm)
        kernel = arm.guidance.runs[0].state.kernel
        assert kernel is not None
        notes.append(kernel.note)
        if kernel.note:
            every.pop(name).close()
    return next(filter(None, notes), "")


def _ratios(times: Times, name: str) -> list[float]:
    """By round, from the layers where they are metered."""
    return times.by_layers(name, "cross") or times.ratios(name)


def _once(arm: Arm, subject: Subject) -> float:
    """Busy seconds for the keys and values of the negative, once per generation; 0 where nothing is kept."""
    assert isinstance(arm, arms.Guided)
    run = arm.guidance.runs[0]
    layers = [layer for layer in run.layers if layer.kind == "cross"]

    class Projecting(Arm):
        def step(self) -> Tensor:
            with torch.no_grad():
                for layer in layers:
                    layer.attn.to_k(subject.negative[None]), layer.attn.to_v(subject.negative[None])
            return subject.negative

    return statistics.median(one_step(Projecting(NAG, subject))[0] for _ in range(3)) if layers else 0.0


def _hot(every: dict[str, Arm]) -> list[Record]:
    def step(name: str) -> None:
        arm = every[name]
        arm.ready()
        try:
            arm.step()
        finally:
            arm.rest()

    found = counting.hot_spots(lambda: step(NAG), lambda: step(BASE))
    return [{"operator": name, "seconds": seconds, "calls": calls} for name, seconds, calls in found]


def _line(shape: Shape, number: int, times: Times) -> str:
    layers = times.by_layers(NAG, "cross")
    more = f", by layers {statistics.median(layers):.4f}" if layers else ""
    return f"{shape.name}: round {number}, NAG {times.spread(NAG).median:.4f} of the plain step{more}"
