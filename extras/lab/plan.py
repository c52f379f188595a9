"""A plan: which models draw which prompts, with which seeds, guided how, and what is to be measured.

Read from YAML. Every error names file, line, field, value and what is allowed; all of them at once. The reference is
always the untreated picture: the same model, prompt and seed with guidance truly off and an empty negative prompt.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from extras.nag.fields import FIELDS, SettingsError, check_values

from .errors import PlanError
from .yamlines import Place, line_of, read

UNTREATED = "untreated"
TARGET = "target"
"""As a negative: the pair's own."""

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
ROLES = ("", "cfg", "nag", "nag-time", "handoff", "control")
_ELSEWHERE = ("enabled", "negative", "map", "skip_uncond", "hires", *(n for n in FIELDS if n.startswith("handoff_")))
_NAME = re.compile(r"[^\x00-\x1f/\\]{1,80}")


class _At(ValueError):
    """An error at ``place``, seen from the part that is being checked."""

    def __init__(self, text: str, *place: str | int):
        super().__init__(text)
        self.place = place


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(_Part):
    """A checkpoint and how it is sampled. ``batch``: pictures drawn at once; it belongs to the picture's address, as
    the last bit of a pixel depends on it."""

    checkpoint: str = Field(min_length=1)
    steps: int = Field(ge=1, le=150)
    cfg: float = Field(default=1.0, ge=1, le=30)
    sampler: str = "Euler"
    scheduler: str = "Automatic"
    width: int = Field(default=512, ge=64, le=2048, multiple_of=8)
    height: int = Field(default=512, ge=64, le=2048, multiple_of=8)
    batch: int = Field(default=1, ge=1, le=64)
    clip_skip: int = Field(default=1, ge=1, le=12)
    append: str = Field(default="", max_length=500)


class Pair(_Part):
    """A prompt, and the thing that is not to be in its picture. ``negative``: how the thing is named to the model
    (default: ``target``). ``subject``: what must stay, in words of the detector."""

    id: str
    prompt: str = Field(min_length=1, max_length=5000)
    target: str = Field(min_length=1, max_length=500)
    negative: str = ""
    subject: str = ""

    @property
    def negative_text(self) -> str:
        return self.negative or self.target


class Handoff(_Part):
    """The first ``steps`` on another model of the plan, at its own CFG."""

    model: str
    steps: int = Field(default=1, ge=1, le=50)
    cfg: float = Field(default=7.0, ge=1, le=30)


class Arm(_Part):
    """One way of guiding, or several where something is swept. ``cfg_negative``: the host's negative prompt, a factor
    apart from NAG's: "target", a text, or nothing. ``nag``: fields of the panel; None: NAG is truly off."""

    name: str
    role: Literal["", "cfg", "nag", "nag-time", "handoff", "control"] = ""
    models: list[str] = []
    cfg: float | None = Field(default=None, ge=1, le=30)
    cfg_negative: str = Field(default="", max_length=5000)
    negative: str = Field(default=TARGET, max_length=5000)
    nag: dict[str, Any] | None = None
    handoff: Handoff | None = None
    sweep: dict[str, list[Any]] = {}
    family: str = ""

    @field_validator("nag")
    @classmethod
    def _known_options(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        for name in _ELSEWHERE:
            if name in value:
                raise _At("has its own place in a plan (negative, handoff), or none", name)
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
            raise _At(f"{UNTREATED!r} is the picture every arm is compared with; choose another name", "name")
        if not _NAME.fullmatch(self.name):
            raise _At("1 to 80 characters, no slash, no line break", "name")
        for key, values in self.sweep.items():
            self._check_sweep(key, values)
        if not self.sweep and self.nag is None and self.handoff is None and not self.cfg_negative and self.cfg is None:
            raise ValueError("it guides by nothing: give it nag, cfg_negative, cfg or handoff")
        try:
            _ = self.variants if self.sweep else None
        except SettingsError as error:
            field = error.field
            key = next((k for k in self.sweep if SWEEPS.get(k, k) == field or (k == "window" and field in SWEEPS)), "")
            raise _At(str(error), "sweep", key) from None
        return self

    def _check_sweep(self, key: str, values: list[Any]) -> None:
        known = (*SWEEPS, "window", "cfg", "handoff", "handoff_cfg")
        if key not in known:
            raise _At(f"is no factor; allowed: {', '.join(known)}", "sweep", key)
        if not values:
            raise _At("the list is empty", "sweep", key)
        if key == "window" and not all(isinstance(v, list) and len(v) == 2 for v in values):
            raise _At("is a list of [start, end]", "sweep", key)
        if key in ("handoff", "handoff_cfg") and self.handoff is None:
            raise _At("the arm has no handoff", "sweep", key)


class Seeds(_Part):
    """``count`` seeds from ``first`` on."""

    first: int = Field(ge=0, le=2**32 - 1)
    count: int = Field(ge=1, le=100_000)

    @property
    def values(self) -> list[int]:
        return list(range(self.first, self.first + self.count))


class Hypothesis(_Part):
    """A question that the plan asks before it is run. ``treatment``, ``control``: a role, an arm, a family, or
    "untreated". ``outcome``: a metric. ``test``: superiority, non-inferiority (against the plan's margin of the
    outcome), or frontier (at matched ``preservation``, another metric)."""

    id: str
    question: str
    treatment: str
    control: str
    outcome: str
    test: Literal["superiority", "non-inferiority", "frontier"] = "superiority"
    preservation: str = ""
    models: list[str] = []


class Search(_Part):
    """What `lab search` varies: ranges of the strengths, and windows of one or more steps in a row. It seeks more
    ``outcome`` and more ``preservation`` (metrics), on ``seeds`` pictures of every pair."""

    scale: tuple[float, float] = (2.0, 16.0)
    alpha: tuple[float, float] = (0.2, 1.0)
    tau: tuple[float, float] = (2.5, 2.5)
    outcome: str = "clean"
    preservation: str = "ssim_background"
    seeds: int = Field(default=1, ge=1, le=1000)

    @field_validator("scale", "alpha", "tau")
    @classmethod
    def _in_range(cls, value: tuple[float, float], info: Any) -> tuple[float, float]:
        check_values({info.field_name: value[0]})
        check_values({info.field_name: value[1]})
        if value[1] < value[0]:
            raise ValueError(f"{list(value)} is not possible, allowed: [lowest, highest]")
        return value


class Measure(_Part):
    """How it is measured. ``detector``: "doodle" (pixels of our small models), or the folder of a zero-shot detector;
    ``clip``: folder of a CLIP checkpoint; ``lpips``: its weights; ``extractor``: of the numbers of sets: "grid" or the
    folder of a vision model. What is not named is absent, with that reason."""

    detector: str = "doodle"
    clip: str = ""
    lpips: str = ""
    extractor: str = "grid"


class Plan(_Part):
    """The whole. ``margin``: metric -> how much worse still counts as not inferior. ``metrics``: names; empty: all
    that can be had."""

    name: str
    title: str = ""
    about: str = ""
    engine: Literal["inprocess", "webui", "ray"] = "inprocess"
    models: dict[str, Model] = Field(min_length=1)
    pairs: list[Pair] = Field(min_length=1)
    seeds: Seeds
    arms: list[Arm] = []
    metrics: list[str] = []
    measure: Measure = Measure()
    search: Search = Search()
    options: dict[str, Any] = {}
    margin: dict[str, float] = {}
    hypotheses: list[Hypothesis] = []
    baseline: Literal["untreated"] = "untreated"

    @model_validator(mode="after")
    def _names(self) -> Plan:
        if not re.fullmatch(r"[\w.-]{1,60}", self.name):
            raise _At(f"{self.name!r} is not possible, allowed: letters, digits, . _ - (it names a folder)", "name")
        _no_twins("pairs", "", [pair.id for pair in self.pairs])
        for model in self.models:
            _no_twins("arms", f" among those of {model}", [arm.name for arm in self.arms_of(model)])
        for number, arm in enumerate(self.arms):
            for model in [*arm.models, *([arm.handoff.model] if arm.handoff else [])]:
                if model not in self.models:
                    known = ", ".join(self.models)
                    raise _At(f"{arm.name!r} names the model {model!r}; there are: {known}", "arms", number)
        for outcome, value in self.margin.items():
            if value < 0:
                raise _At(f"{value} is not possible, allowed: 0 or more", "margin", outcome)
        return self

    def all_arms(self) -> list[Arm]:
        """Every arm, sweeps spread out."""
        return [variant for arm in self.arms for variant in arm.variants]

    def arms_of(self, model: str) -> list[Arm]:
        """Those that are drawn with a model."""
        return [arm for arm in self.all_arms() if not arm.models or model in arm.models]


def _no_twins(part: str, where: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _At(f"{twice[0]!r} stands there twice{where}", part)


def load(path: Path) -> Plan:
    """The plan of a file. PlanError with every problem, each with its line."""
    data, lines = read(path)
    if not isinstance(data, dict):
        raise PlanError([f"{path}:1: a plan is a mapping with name, models, pairs, seeds, arms"])
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        problems = [problem for each in error.errors() for problem in _problems(each, path, lines)]
        raise PlanError(problems) from None


def _problems(error: Any, path: Path, lines: dict[Place, int]) -> Iterator[str]:
    place = tuple(error["loc"])
    cause = (error.get("ctx") or {}).get("error")
    if isinstance(cause, SettingsError):
        for field, value, allowed in cause.errors:
            at = (*place, field)
            yield f"{path}:{line_of(lines, at)}: {_dotted(at)}: {value!r} is not possible, allowed: {allowed}"
        return
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        text = f"there is no such field here; allowed: {', '.join(_fields_at(place))}"
    elif error["type"] == "missing":
        text = "is missing"
    elif error["type"] != "value_error":
        text = f"{error['input']!r} is not possible: {text[0].lower()}{text[1:]}"
    if isinstance(cause, _At):
        place = (*place, *cause.place)
    yield f"{path}:{line_of(lines, place)}: {_dotted(place) or 'the plan'}: {text}"


def _dotted(place: Place) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")


def _fields_at(place: Place) -> list[str]:
    """The fields of the part that ``place`` (the unknown one included) lies in."""
    parts: dict[str, type[_Part]] = {
        "models": Model,
        "pairs": Pair,
        "seeds": Seeds,
        "arms": Arm,
        "hypotheses": Hypothesis,
    }
    if place[:1] in (("measure",), ("search",)):
        return list((Measure if place[0] == "measure" else Search).model_fields)
    if len(place) < 2:
        return list(Plan.model_fields)
    kind = Handoff if "handoff" in place[:-1] else parts.get(str(place[0]), Plan)
    return list(kind.model_fields)


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
            "handoff_checkpoint": models[arm.handoff.model].checkpoint,
            "handoff_cfg": arm.handoff.cfg,
        }
    return check_values(values)


def negative_of(text: str, pair: Pair) -> str:
    """A negative of the plan, in words: "target" stands for the pair's own."""
    return pair.negative_text if text == TARGET else text
