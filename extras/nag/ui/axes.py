"""Axes of the host's X/Y/Z plot: one for every option of FIELDS, and one for presets."""

from __future__ import annotations

import csv
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from ..field import SettingsError
from ..fields import FIELDS
from ..presetbook import list_presets, load_preset

PREFIX = "[NAG] "
ATTRIBUTE = "nag_time_axes"  # on the job of a cell: name -> value
PRESET = "preset"
_TYPES: dict[str, type] = {"int": int, "float": float}
_NUMBERS = {"int": r"\d+", "float": r"\d+(\.\d*)?"}


def add_axes() -> int:
    """Add ours to every X/Y/Z script the host has loaded; those that have them already are left. Returns how many
    scripts have them now. Hosts call it when they build their page, again at each rebuild."""
    plots = list(_plots())
    for options, make in plots:
        if not any(str(option.label).startswith(PREFIX) for option in options):
            options.extend(_axes(make))
    return len(plots)


def values_of(p: Any) -> Mapping[str, Any]:
    """What the axes say about this job: nothing, outside a plot."""
    values: Mapping[str, Any] = getattr(p, ATTRIBUTE, {})
    return values


def override(values: Mapping[str, object], axes: Mapping[str, Any]) -> dict[str, object]:
    """The job's options with a cell's in their place. A preset sets every option but the negative; other axes go before
    it. A plot over an option of ours means that guidance is on, unless an axis says otherwise."""
    if not axes:
        return dict(values)
    preset = axes.get(PRESET)
    chosen: dict[str, object] = {}
    if preset is not None:
        chosen = {name: field.default for name, field in FIELDS.items() if name != "negative"}
        chosen |= load_preset(preset).settings
    return {**values, **chosen, "enabled": True, **{name: v for name, v in axes.items() if name != PRESET}}


def _plots() -> Iterable[tuple[list[Any], Callable[..., Any]]]:
    """(list of axes, class of an axis) of each script that has both; their modules' names differ between hosts."""
    from modules import scripts

    seen: list[int] = []
    for data in scripts.scripts_data:
        found = vars(data.module) if hasattr(data.module, "__dict__") else {}
        options, make = found.get("axis_options"), found.get("AxisOption")
        if isinstance(options, list) and callable(make) and id(options) not in seen:
            seen.append(id(options))
            yield options, make


def _axes(make: Callable[..., Any]) -> list[Any]:
    preset = make(f"{PREFIX}Preset", str, _apply(PRESET), confirm=_confirm(_preset), choices=list_presets)
    return [preset, *(_axis(make, name) for name in FIELDS)]


def _axis(make: Callable[..., Any], name: str) -> Any:
    field = FIELDS[name]
    known: dict[str, Any] = {"confirm": _confirm(_check(name))}
    if field.type in ("choice", "bool"):
        names = list(field.choices) or ["True", "False"]
        known["choices"] = lambda: list(names)
    elif field.type in _TYPES and "prepare" in inspect.signature(make).parameters:  # SD.Next has none
        known["prepare"] = _prepare(name)
    return make(PREFIX + field.label, _TYPES.get(field.type, str), _apply(name), **known)


def _check(name: str) -> Callable[[Any], Any]:
    """In the type of the option. What its range depends on may be another axis: the cell has the last word."""
    return lambda value: FIELDS[name].check(value, "sigma")


def _preset(name: str) -> str:
    load_preset(name)
    return name


def _apply(name: str) -> Callable[..., None]:
    def apply(p: Any, x: Any, xs: Sequence[Any]) -> None:
        # a mapping of its own: cells are copies of one job
        setattr(p, ATTRIBUTE, {**values_of(p), name: x if name == PRESET else _check(name)(x)})

    return apply


def _confirm(check: Callable[[Any], Any]) -> Callable[..., None]:
    """Before the first cell: SettingsError, which the host shows, names field, value and what is allowed."""

    def confirm(p: Any, xs: Sequence[Any]) -> None:
        for x in xs:
            check(x)

    return confirm


def _prepare(name: str) -> Callable[[str], list[str]]:
    """Texts of numbers as the host splits them, refused by name where they are none; it expands ranges itself."""
    n = _NUMBERS[FIELDS[name].type]
    range_ = re.compile(rf"{n}\s*-\s*{n}(\s*\([+-]{n}\s*\)|\s*\[\d+\s*\])?")

    def prepare(text: str) -> list[str]:
        values = [v.strip() for v in chain.from_iterable(csv.reader([text], skipinitialspace=True))]
        for value in values:
            if value and not range_.fullmatch(value):
                try:
                    _check(name)(value)
                except SettingsError as error:
                    allowed = f"{error.allowed}, or a range like 1-5, 1-5 (+2), 1-5 [3]"
                    raise SettingsError(name, value, allowed) from None
        return values

    return prepare
