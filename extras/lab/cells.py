"""From a plan to pictures: every picture has an address made of everything that decides its pixels.

A window goes in as the strengths of the steps it resolves to, so schedules that guide the same steps equally share one
picture, which is drawn once. What a picture is measured against (its untreated twin, the pair's target) is part of the
address too, as the measured numbers are kept beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from extras.nag.fields import FIELDS
from extras.nag.schedule import ranges
from extras.nag.settings import Settings

from . import grid
from .plan import UNTREATED, Arm, Model, Pair, Plan, negative_of, settings_of

VERSION = 1
"""Of the address: raise it when the same request gives other pixels."""

_WINDOW = ("start", "end", "unit", "ramp_steps", "cooldown", "cooldown_drop")
_BESIDE = ("enabled", "map", "skip_uncond", "hires", *_WINDOW)


@dataclass(frozen=True)
class Checkpoint:
    """``name`` as the host knows it; ``sha256`` of the file, as far as the host tells."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Cell:
    """One picture to draw. ``spec``: what its address is made of, JSON-ready; ``nag``: the panel's options to ask with
    (None: guidance off); ``guided``: numbers, from 1, of the steps to be guided by NAG."""

    id: str
    spec: dict[str, Any]
    nag: dict[str, Any] | None = None
    guided: tuple[int, ...] = ()

    @property
    def group(self) -> tuple[str, int]:
        """Cells with an equal group are drawn together: everything but the seed is equal, and so are seed // batch."""
        rest = {k: v for k, v in self.spec.items() if k not in ("seed", "twin")}
        return _digest(rest), self.spec["seed"] // self.spec["batch"]


@dataclass(frozen=True)
class Place:
    """Where a picture stands in the plan. ``baseline``: address of the untreated one, None for that itself."""

    model: str
    pair: str
    seed: int
    arm: str
    cell: str
    baseline: str | None


@dataclass(frozen=True)
class ArmRow:
    """An arm as the results' table has it, resolved on its model's grid."""

    model: str
    arm: str
    role: str
    family: str
    method: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Expansion:
    """A plan in full."""

    cells: dict[str, Cell]
    places: list[Place]
    arms: list[ArmRow]


def expand(plan: Plan, checkpoint: Callable[[str], Checkpoint], versions: dict[str, str]) -> Expansion:
    """All pictures of a plan. ``checkpoint``: name in the plan -> the file behind it; ``versions``: of what draws."""
    cells: dict[str, Cell] = {}
    places: list[Place] = []
    rows: list[ArmRow] = []
    found = {name: checkpoint(model.checkpoint) for name, model in plan.models.items()}
    for name, model in plan.models.items():
        arms: list[Arm | None] = [None, *plan.arms_of(name)]
        rows += [_row(name, model, arm) for arm in arms]
        for pair in plan.pairs:
            plain = _Maker(plan, name, model, found, versions, pair, None, None)
            for arm in arms:
                asked = settings_of(arm, pair, plan.models) if arm else None
                make = _Maker(plan, name, model, found, versions, pair, arm, asked)
                for seed in plan.seeds.values:
                    twin = plain.untreated(seed)
                    cell = twin if arm is None else make.treated(seed, twin)
                    cells.setdefault(cell.id, cell)
                    places.append(
                        Place(name, pair.id, seed, arm.name if arm else UNTREATED, cell.id, twin.id if arm else None)
                    )
    return Expansion(cells, places, rows)


def groups(cells: list[Cell]) -> Iterator[list[Cell]]:
    """The cells in the order they are drawn, those together that one call draws. Seeds come before arms and prompts: a
    run that is stopped early has the same seeds of everything."""
    together: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        together.setdefault(cell.group, []).append(cell)
    yield from sorted(together.values(), key=lambda group: group[0].spec["seed"] // group[0].spec["batch"])


class _Maker:
    """The cells of one model, pair and arm."""

    def __init__(self, plan: Plan, name: str, model: Model, found: dict[str, Checkpoint], versions, pair, arm, asked):
        self.model, self.pair, self.nag = model, pair, asked
        resolved = resolve(model, asked)
        self.guided = tuple(i + 1 for i, s in enumerate(resolved[0]) if s > 0) if asked and asked["nag"] else ()
        handoff = arm.handoff if arm else None
        self.common = {
            "version": VERSION,
            "versions": versions,
            "checkpoint": found[name].name,
            "sha256": found[name].sha256,
            "prompt": pair.prompt + model.append,
            "negative_prompt": negative_of(arm.cfg_negative, pair) if arm else "",
            "steps": model.steps,
            "cfg": float(arm.cfg if arm and arm.cfg is not None else model.cfg),
            "sampler": model.sampler,
            "scheduler": model.scheduler,
            "width": model.width,
            "height": model.height,
            "batch": model.batch,
            "clip_skip": model.clip_skip,
            "options": dict(sorted(plan.options.items())),
            "target": pair.target,
            "subject": pair.subject,
        }
        if asked is not None and _acts(asked, resolved):
            base = found[handoff.model].sha256 if handoff and handoff.model else None
            self.common["nag"] = _spec_of(asked, resolved, base)
        else:
            self.nag = None

    def untreated(self, seed: int) -> Cell:
        spec = {**self.common, "seed": seed}
        return Cell(_digest(spec), spec)

    def treated(self, seed: int, twin: Cell) -> Cell:
        """The twin itself where nothing is different."""
        plain = {**self.common, "seed": seed}
        if plain == twin.spec:
            return twin
        spec = {**plain, "twin": twin.id}
        return Cell(_digest(spec), spec, self.nag, self.guided)


def resolve(model: Model, asked: dict[str, Any] | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(strength, CFG factor) of each step, by NAG's window."""
    if asked is None:
        return (), ()
    on = grid.times(model.sampler, model.scheduler, model.steps)
    sigmas = tuple(14.6146 ** (t / 999) for t in on) if asked["unit"] == "sigma" else None
    resolved = Settings.parse(asked).schedule().resolve(on, sigmas)
    return resolved.strength, resolved.cfg_factor


def _acts(asked: dict[str, Any], resolved: tuple[tuple[float, ...], tuple[float, ...]]) -> bool:
    strength, factor = resolved
    others = any(asked[f"{m}_scale"] > 0 for m in ("nag_pag", "tpg", "pag")) or asked["three_way_scale"] > 1
    acts = asked["nag"] and any(s > 0 for s in strength) and asked["scale"] != 1 and asked["alpha"] != 0
    return bool(acts or others or asked["handoff_steps"] or any(f != 1 for f in factor))


def _spec_of(asked: dict[str, Any], resolved: Any, base: str | None) -> dict[str, Any]:
    """The options as the address has them: what differs from the defaults (so that a new option changes no address),
    and the window as what it resolves to."""
    spec = {k: v for k, v in asked.items() if k not in _BESIDE and v != FIELDS[k].default}
    if asked["nag"]:
        spec |= {"strength": list(resolved[0]), "cfg_factor": list(resolved[1])}
    if base:
        spec["handoff_sha256"] = base
    if any(asked[f"{m}_scale"] > 0 for m in ("nag_pag", "tpg", "pag")) or asked["three_way_scale"] > 1:
        spec |= {k: asked[k] for k in ("unit", "ramp_steps")}
    return spec


def _row(name: str, model: Model, arm: Arm | None) -> ArmRow:
    cfg = float(arm.cfg if arm and arm.cfg is not None else model.cfg)
    values: dict[str, Any] = {"cfg": cfg, "steps": model.steps, "handoff": 0, "guided": "", "cfg_negative": ""}
    if arm is None:
        return ArmRow(name, UNTREATED, "", UNTREATED, "none", values)
    methods = ["CFG"] if arm.cfg_negative and cfg > 1 else []
    values["cfg_negative"] = arm.cfg_negative
    if arm.handoff is not None:
        values |= {"handoff": arm.handoff.steps, "handoff_cfg": arm.handoff.cfg}
        methods.append("hand-off")
    others = {arm.handoff.model: model} if arm.handoff and arm.handoff.model else {}
    asked = settings_of(arm, Pair(id="-", prompt="-", target="-"), others)
    if asked is not None and arm.nag is not None:
        strength, _ = resolve(model, asked)
        if asked["nag"]:
            methods.append("NAG")
            values |= {k: asked[k] for k in ("start", "end", "cooldown", "scale", "tau", "alpha", "layers")}
            values |= {"ramp": asked["ramp_steps"], "guided": ranges([i + 1 for i, s in enumerate(strength) if s > 0])}
        methods += [w for m, w in (("nag_pag", "NAG-PAG"), ("tpg", "TPG"), ("pag", "PAG")) if asked[f"{m}_scale"] > 0]
        methods += ["three-way"] if asked["three_way_scale"] > 1 else []
    return ArmRow(name, arm.name, arm.role, arm.family or arm.name, " + ".join(methods) or "none", values)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
