"""The table of every option: type, default, range, words. Panel, infotext, API and settings read this one
table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 10_000  # characters of a prompt; more is a mistake, not a prompt
MAX_SIGMA = 1000.0


class SettingsError(ValueError):
    """One or more options that cannot be accepted.

    ``field``, ``value``, ``allowed`` describe the first; ``errors`` lists all as such triples.
    """

    def __init__(self, field: str, value: object, allowed: str, more: list[tuple[str, object, str]] | None = None):
        self.field, self.value, self.allowed = field, value, allowed
        self.errors = [(field, value, allowed), *(more or [])]
        super().__init__("; ".join(f"{f}: {_short(v)} is not possible, allowed: {a}" for f, v, a in self.errors))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Field:
    """One option. ``type``: bool, str, int, float or "choice". ``maximum`` of a str counts characters.

    ``infotext_key``: word characters and spaces only, unique. ``sigma_maximum``: the limit instead of
    ``maximum`` when the schedule's unit is sigma.
    """

    name: str
    type: str
    default: Any
    label: str
    help: str
    infotext_key: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    sigma_maximum: float | None = None

    def allowed(self, unit: str = "noise") -> str:
        """What a user may enter, in words."""
        if self.type == "choice":
            return " | ".join(self.choices)
        if self.type == "bool":
            return "true | false"
        if self.type == "str":
            return f"text of at most {int(self.maximum or MAX_TEXT)} characters"
        kind = "whole number" if self.type == "int" else "number"
        return f"{kind} from {self.minimum:g} to {self._top(unit):g}"

    def check(self, value: object, unit: str = "noise") -> Any:
        """The value in the field's type; numbers and switches may come as text (infotext). SettingsError if
        not."""
        try:
            result = self._convert(value)
        except (TypeError, ValueError, OverflowError):
            raise SettingsError(self.name, value, self.allowed(unit)) from None
        if self.type == "choice":
            good = result in self.choices
        elif self.type == "str":
            good = len(result) <= (self.maximum or MAX_TEXT)
        elif self.type == "bool":
            good = True
        else:
            assert self.minimum is not None
            good = math.isfinite(result) and self.minimum <= result <= self._top(unit)
        if not good:
            raise SettingsError(self.name, value, self.allowed(unit))
        return result

    def _top(self, unit: str) -> float:
        top = self.sigma_maximum if unit == "sigma" and self.sigma_maximum is not None else self.maximum
        assert top is not None
        return top

    def _convert(self, value: object) -> Any:
        if self.type in ("str", "choice"):
            if not isinstance(value, str):
                raise TypeError
            return value
        if self.type == "bool":
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value.strip().lower() in ("true", "false"):
                return value.strip().lower() == "true"
            raise TypeError
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise TypeError
        number = float(value)
        if self.type == "float":
            return number
        if number != int(number):
            raise ValueError
        return int(number)


_TABLE = (
    Field("enabled", "bool", False, "Enable NAG", "Guide away from the NAG negative prompt.", "NAG enabled"),
    Field(
        "negative",
        "str",
        "",
        "NAG negative prompt",
        "What must not appear. Works at CFG 1.",
        "NAG negative",
        maximum=MAX_TEXT,
    ),
    Field(
        "scale",
        "float",
        3.0,
        "Scale",
        "How far from the negative (s; the paper's phi is s - 1). 1 = off.",
        "NAG scale",
        1.0,
        20.0,
        0.1,
    ),
    Field(
        "tau",
        "float",
        2.5,
        "Tau",
        "How much a token's features may grow before they are scaled back.",
        "NAG tau",
        1.0,
        10.0,
        0.1,
    ),
    Field(
        "alpha",
        "float",
        0.5,
        "Alpha",
        "Share of the guided features in the result.",
        "NAG alpha",
        0.0,
        1.0,
        0.005,
    ),
    Field(
        "start",
        "float",
        0.0,
        "Start",
        "Guidance begins here (included). Sigma: 0 = from the first step.",
        "NAG start",
        0.0,
        1.0,
        0.01,
        sigma_maximum=MAX_SIGMA,
    ),
    Field(
        "end",
        "float",
        1.0,
        "End",
        "Guidance ends here (excluded; 1 includes the last step).",
        "NAG end",
        0.0,
        1.0,
        0.01,
        sigma_maximum=MAX_SIGMA,
    ),
    Field(
        "unit",
        "choice",
        "noise",
        "Unit",
        "What start and end are fractions of: the noise schedule, the steps; or sigma.",
        "NAG unit",
        choices=("noise", "steps", "sigma"),
    ),
    Field(
        "ramp_steps",
        "int",
        0,
        "Ramp steps",
        "Steps over which the strength grows to full.",
        "NAG ramp",
        0,
        100,
        1,
    ),
    Field(
        "cooldown",
        "float",
        0.0,
        "Cooldown",
        "For this much progress after the end, CFG is lowered.",
        "NAG cooldown",
        0.0,
        1.0,
        0.01,
    ),
    Field(
        "cooldown_drop",
        "float",
        0.2,
        "Cooldown CFG drop",
        "CFG becomes max(1, CFG x (1 - drop)).",
        "NAG cooldown drop",
        0.0,
        1.0,
        0.05,
    ),
    Field(
        "layers",
        "str",
        "all",
        "Layers",
        "all, or d0-d3, m0, u2, names with wildcards, !x to leave out.",
        "NAG layers",
        maximum=2000,
    ),
    Field(
        "empty_negative",
        "choice",
        "guide",
        "Empty negative",
        "An empty box: guide away from the empty prompt, skip guidance, or use the host's negative prompt.",
        "NAG empty negative",
        choices=("guide", "skip", "host"),
    ),
    Field(
        "hires",
        "choice",
        "both",
        "Hires passes",
        "Which passes of hires fix are guided.",
        "NAG hires",
        choices=("both", "first", "second"),
    ),
    Field(
        "skip_uncond",
        "bool",
        False,
        "Skip unused negative pass at CFG 1",
        "Saves the unconditional half of each call where the host computes it for nothing.",
        "NAG skip uncond",
    ),
)

FIELDS: dict[str, Field] = {f.name: f for f in _TABLE}


def check_values(values: Mapping[str, object], base: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Validate a mapping of options; all errors at once. Unknown names are refused.

    ``base``: values of the fields not given, for the rules between fields (default: the table's defaults).
    Returns only what was given. Raises SettingsError.
    """
    if not isinstance(values, Mapping):
        raise SettingsError("settings", values, "an object with the fields " + ", ".join(FIELDS))
    errors: list[tuple[str, object, str]] = []
    result: dict[str, Any] = {}
    unit = str(values.get("unit", (base or {}).get("unit", "noise")))
    for name, value in values.items():
        if name not in FIELDS:
            errors.append((str(name), value, "one of the fields " + ", ".join(FIELDS)))
            continue
        try:
            result[name] = FIELDS[name].check(value, unit)
        except SettingsError as error:
            errors += error.errors
    if not errors and result:
        full = {n: f.default for n, f in FIELDS.items()} | dict(base or {}) | result
        errors += _between(full)
    if errors:
        raise SettingsError(*errors[0], errors[1:])
    return result


def _between(full: dict[str, Any]) -> list[tuple[str, object, str]]:
    """Rules that need two fields."""
    start, end = full["start"], full["end"]
    if full["unit"] == "sigma":
        if 0 < start <= end:
            return [("end", end, f"below start ({start:g}): sigma falls while sampling")]
        return []
    errors: list[tuple[str, object, str]] = []
    for name in ("start", "end"):
        if full[name] > 1:
            errors.append((name, full[name], FIELDS[name].allowed(full["unit"])))
    if not errors and end <= start:
        errors.append(("end", end, f"above start ({start:g}), at most 1"))
    return errors
