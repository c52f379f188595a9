"""The arms: a way of guiding each, or several where something is swept; and the panel's options they ask with."""

from __future__ import annotations

import itertools
import re
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from extras.nag.field import SettingsError
from extras.nag.fields import FIELDS, check_values

from .drawing import TARGET, Model, Pair, negative_of
from .part import At, Part

UNTREATED = "untreated"

STRENGTHS = ("scale", "tau", "alpha", "cfg", "handoff_cfg")
"""Sweeping these moves along one frontier; sweeping anything else begins another."""

SWEEPS = {
    "start": "start",
    "end": "end",
    "ramp": "ramp_steps",
    "cooldown": "cooldown",
    "scale": "scale",
    "tau": "tau",
    "alpha": "alpha",
    "layers": "layers",
}
_SWEPT = {"steps": "handoff"}
_ELSEWHERE = ("enabled", "negative", "map", "skip_uncond", "hires", *(n for n in FIELDS if n.startswith("handoff_")))
_NAME = re.compile(r"[^\x00-\x1f/\\]{1,80}")


class Handoff(Part):
    """The first ``steps`` on another model of the plan, at its own CFG; or, for a student that is a LoRA in the
    model's ``append``, on the same model with that ``lora`` off."""

    model: str = ""
    lora: str = Field(default="", max_length=500)
    steps: int = Field(default=1, ge=1, le=50)
    cfg: float = Field(default=7.0, ge=1, le=30)

    @model_validator(mode="after")
    def _one_of_both(self) -> Handoff:
        if bool(self.model) == bool(self.lora):
            raise ValueError("give it model, the name of a model of this plan, or lora, one of the two")
        return self


class Arm(Part):
    """One way of guiding, or several where something is swept. ``cfg_negative``: the host's negative prompt, a factor
    apart from NAG's: "target", a text, or nothing. ``nag``: fields of the panel; None: NAG is truly off."""

    name: str
    role: Literal["", "cfg", "nag", "nag-time", "handoff", "control"] = ""
    models: list[str] = Field(default_factory=list)
    cfg: float | None = Field(default=None, ge=1, le=30)
    cfg_negative: str = Field(default="", max_length=5000)
    negative: str = Field(default=TARGET, max_length=5000)
    nag: dict[str, Any] | None = None
    handoff: Handoff | None = None
    sweep: dict[str, list[Any]] = Field(default_factory=dict)
    family: str = ""

    @field_validator("nag")
    @classmethod
    def _known_options(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        for name in _ELSEWHERE:
            if name in value:
                raise At("has its own place in a plan (negative, handoff), or none", name)
        return check_values(value)

    @property
    def variants(self) -> list[Arm]:
        """The arms that its sweep makes; itself where it has none."""
        if not self.sweep:
            return [self.model_copy(update={"family": self.family or self.name})]
        made = []
        for values in itertools.product(*self.sweep.values()):
            changes = dict(zip(self.sweep, values, strict=True))
            made.append(self._with(changes))
        return made

    def _with(self, changes: dict[str, Any]) -> Arm:
        words = [_words(k, v) for k, v in changes.items()]
        shape = [_words(k, v) for k, v in changes.items() if k not in STRENGTHS]
        update: dict[str, Any] = {
            "name": f"{self.name} {', '.join(words)}",
            "family": ", ".join([self.family or self.name, *shape]),
            "sweep": {},
        }
        nag = dict(self.nag or {})
        for key, value in changes.items():
            if key == "cfg":
                update["cfg"] = value
            elif key == "window":
                nag["start"], nag["end"] = value
            elif key in ("handoff", "handoff_cfg"):
                field = "steps" if key == "handoff" else "cfg"
                update["handoff"] = Handoff(**{**(update.get("handoff") or self.handoff).model_dump(), field: value})
            else:
                nag[SWEEPS[key]] = value
        if nag or self.nag is not None:
            update["nag"] = check_values(nag)
        return Arm(**{**self.model_dump(), **update})

    @model_validator(mode="after")
    def _possible(self) -> Arm:
        if self.name == UNTREATED:
            raise At(f"{UNTREATED!r} is the picture every arm is compared with; choose another name", "name")
        if not _NAME.fullmatch(self.name):
            raise At("1 to 80 characters, no slash, no line break", "name")
        for key, values in self.sweep.items():
            self._check_sweep(key, values)
        if not self.sweep and self.nag is None and self.handoff is None and not self.cfg_negative and self.cfg is None:
            raise ValueError("it guides by nothing: give it nag, cfg_negative, cfg or handoff")
        try:
            _ = self.variants if self.sweep else None
        except SettingsError as error:
            field = error.field
            key = next((k for k in self.sweep if SWEEPS.get(k, k) == field or (k == "window" and field in SWEEPS)), "")
            raise At(str(error), "sweep", key) from None
        except ValidationError as error:
            wrong = error.errors()[0]
            field = str(wrong["loc"][-1])
            raise At(f"{wrong['input']!r} is not possible: {wrong['msg']}", "sweep", _SWEPT.get(field, field)) from None
        return self

    def _check_sweep(self, key: str, values: list[Any]) -> None:
        known = (*SWEEPS, "window", "cfg", "handoff", "handoff_cfg")
        if key not in known:
            raise At(f"is no factor; allowed: {', '.join(known)}", "sweep", key)
        if not values:
            raise At("the list is empty", "sweep", key)
        if key == "window" and not all(isinstance(v, list) and len(v) == 2 for v in values):
            raise At("is a list of [start, end]", "sweep", key)
        if key in ("handoff", "handoff_cfg") and self.handoff is None:
            raise At("the arm has no handoff", "sweep", key)


def _words(key: str, value: Any) -> str:
    if key == "window":
        return f"{value[0]:g}-{value[1]:g}"
    return f"{key} {value:g}" if isinstance(value, (int, float)) else f"{key} {value}"


def settings_of(arm: Arm, pair: Pair, models: dict[str, Model]) -> dict[str, Any] | None:
    """The panel's options for an arm and a pair, complete; None where guidance is off."""
    if arm.nag is None and arm.handoff is None:
        return None
    values = {name: field.default for name, field in FIELDS.items()} | (arm.nag or {"nag": False})
    values |= {"enabled": True, "negative": negative_of(arm.negative, pair)}
    if arm.handoff is not None:
        values |= {
            "handoff_steps": arm.handoff.steps,
            "handoff_checkpoint": models[arm.handoff.model].checkpoint if arm.handoff.model else "",
            "handoff_lora": arm.handoff.lora,
            "handoff_cfg": arm.handoff.cfg,
        }
    return check_values(values)
