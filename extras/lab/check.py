"""What a plan would draw, and whether what it names can be had. Draws nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import grid
from .cells import ArmRow, Checkpoint, expand
from .errors import LabError
from .plan import UNTREATED, Plan


@dataclass
class Found:
    """``lines``: for people; ``problems``: what is not there, each with what there is."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check(plan: Plan, urls: list[str] | None = None) -> Found:
    """Spread a plan out and look for its checkpoints: on the WebUIs at ``urls``, else, for a plan of the Studio, among
    the Studio's models. A plan for WebUIs without ``urls`` is only spread out."""
    found = Found()
    expansion = expand(plan, lambda name: Checkpoint(name, ""), {})
    targets = len({pair.target for pair in plan.pairs})
    found.lines.append(
        f"{plan.name}: prompts {len(plan.pairs)}, targets {targets}, seeds {plan.seeds.count}, "
        f"pictures {len(expansion.cells)} for {len(expansion.places)} places"
    )
    for name, model in plan.models.items():
        times = " ".join(f"{t:.0f}" for t in grid.times(model.sampler, model.scheduler, model.steps))
        found.lines.append(
            f"{name}: {model.checkpoint}{model.append}, {model.sampler}, {model.scheduler}, CFG {model.cfg:g}, "
            f"{model.steps} steps at {times}"
        )
        found.lines += [f"  {_line(row)}" for row in expansion.arms if row.model == name and row.arm != UNTREATED]
    _look_for_models(plan, urls, found)
    _look_for_weights(plan, found)
    return found


def _line(row: ArmRow) -> str:
    values = row.values
    parts = [row.method]
    if values["guided"]:
        strength = ", ".join(f"{key} {values[key]:g}" for key in ("scale", "tau", "alpha"))
        parts.append(f"steps {values['guided']} of {values['steps']}, {strength}")
    if values["handoff"]:
        parts.append(f"the first {values['handoff']} on the base at CFG {values['handoff_cfg']:g}")
    if values["cfg_negative"]:
        parts.append(f"the host's negative: {values['cfg_negative']}, CFG {values['cfg']:g}")
        if values["cfg"] <= 1 and not values["handoff"]:
            parts.append("where it does nothing")
    return f"{row.arm}: {', '.join(parts)}"


def _look_for_models(plan: Plan, urls: list[str] | None, found: Found) -> None:
    if plan.engine == "webui" and not urls:
        found.lines.append("Not looked for: the checkpoints. With --url, the WebUI there is asked for them.")
        return
    engine = _engine(urls)
    for name in dict.fromkeys(model.checkpoint for model in plan.models.values()):
        try:
            engine.checkpoint(name)
            found.lines.append(f"checkpoint {name}: there")
        except LabError as error:
            found.problems.append(str(error))


def _engine(urls: list[str] | None) -> Any:
    if urls:
        from .engines.webui import WebUI

        return WebUI(urls)
    from .engines.inprocess import InProcess

    return InProcess()


def _look_for_weights(plan: Plan, found: Found) -> None:
    """A metric without weights is absent, which is no error: the plan can be run."""
    for what, name in plan.measure.model_dump().items():
        if not name:
            found.lines.append(f"measure.{what}: not named, its metrics will be absent")
        elif name not in ("doodle", "grid"):
            there = "there" if Path(name).expanduser().exists() else "not there, its metrics will be absent"
            found.lines.append(f"measure.{what}: {name}: {there}")
