"""The language in which layers are chosen: "d0-d3,m0", names with wildcards, "all", "!u2"."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

_RANGE = re.compile(r"([dmu])(\d+)(?:-([dmu])?(\d+))?")


class LayerError(ValueError):
    """A model without layers to guide, or a selector that names what does not exist."""


class Named(Protocol):
    """What a selector looks at."""

    @property
    def name(self) -> str: ...
    @property
    def alias(self) -> str: ...
    @property
    def notation(self) -> str: ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class Term:
    """One part of a selector: ``text`` names layers, ``exclude`` takes them away."""

    text: str
    exclude: bool = False


def parse(selector: str) -> list[Term]:
    """Split a selector into terms. LayerError for an empty one."""
    terms = []
    for part in selector.split(","):
        text = part.strip()
        if not text:
            continue
        exclude = text.startswith("!")
        text = text.removeprefix("!").strip()
        if not text or "=" in text:
            raise LayerError(
                f"layers: {part.strip()!r} cannot be read; allowed: a layer name, a range, all, !name"
            )
        terms.append(Term(text, exclude))
    if not terms:
        raise LayerError(
            f"layers: {selector!r} names no layer; allowed: all, d0-d3, m0, names with wildcards, !name"
        )
    return terms


def pick(layers: Sequence[N], selector: str, kind: str = "") -> list[N]:
    """The layers a selector names, in their own order. LayerError lists what exists where something does
    not."""
    terms = parse(selector)
    chosen: set[int] = set(range(len(layers))) if all(t.exclude for t in terms) else set()
    for term in terms:
        hits = {i for i, layer in enumerate(layers) if _matcher(term.text, layers)(layer)}
        if not hits:
            raise LayerError(f"layers: {term.text!r} matches nothing; {existing(layers, kind)}")
        chosen = chosen - hits if term.exclude else chosen | hits
    if not chosen:
        raise LayerError(f"layers: {selector!r} leaves no layer; {existing(layers, kind)}")
    return [layer for i, layer in enumerate(layers) if i in chosen]


def existing(layers: Sequence[Named], kind: str = "") -> str:
    """What can be named, in one line: "this model has d0-d5, m0, u0-u8"."""
    spans = []
    for path in "dmu":
        numbers = sorted({int(layer.notation[1:]) for layer in layers if layer.notation.startswith(path)})
        if numbers:
            spans.append(f"{path}{numbers[0]}" + (f"-{path}{numbers[-1]}" if len(numbers) > 1 else ""))
    names = f", by module name e.g. {layers[0].name}" if layers else ""
    return f"this model has {', '.join(spans) or 'none'}{f' ({kind})' if kind else ''}{names}"


def _matcher(text: str, layers: Sequence[Named]) -> Callable[[Named], bool]:
    if text.lower() == "all":
        return lambda layer: True
    span = _RANGE.fullmatch(text)
    if span:
        path, first, other, last = span.groups()
        low, high = int(first), int(last or first)
        if other not in (None, path) or high < low:
            raise LayerError(
                f"layers: {text!r} is not a range; allowed: two numbers of one path, rising, as in d0-d3"
            )
        have = {layer.notation for layer in layers}
        for number in (low, high):
            if f"{path}{number}" not in have:
                raise LayerError(f"layers: {path}{number} (in {text!r}) does not exist; {existing(layers)}")
        return lambda layer: layer.notation[0] == path and low <= int(layer.notation[1:]) <= high

    def by_name(layer: Named) -> bool:
        for full in (layer.name, layer.alias):
            block = full.rpartition(".")[0]
            if full and (fnmatchcase(full, text) or fnmatchcase(block, text)):
                return True
        return False

    return by_name
