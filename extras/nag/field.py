"""One option: its type, its default, what it may be; and the error that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 10_000  # characters of a prompt; more is a mistake, not a prompt


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
    ``maximum`` when the schedule's unit is sigma. ``group``: section of the panel it belongs to.
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
    group: str = "advanced"

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
            value.encode()  # half a surrogate pair cannot be saved in any file
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
