"""The language in which layers are chosen: "d0-d3,m0", "d4-d13=0.5", "d2.0-9", "in08", names with wildcards, "all",
"!u2"."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

_RANGE = re.compile(r"([a-z])(\d+)(?:-([a-z])?(\d+))?")
_DOTTED = re.compile(r"([a-z])(\d+)\.(\d+)(?:-(\d+))?")
_CODE = re.compile(r"(in|out)(\d+)|mid(?:dle)?|m00", re.IGNORECASE)
_LDM = {"in": "input_blocks", "out": "output_blocks", "mid": "middle_block"}
GRAMMAR = "all, d0-d3, m0, d2.0-9, in08, a module name with wildcards, !name, each with =0.5 for its strength"


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
    @property
    def place(self) -> str: ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class Term:
    """One part of a selector: ``text`` names layers, ``exclude`` takes them away, ``strength`` 0..1 is theirs."""

    text: str
    exclude: bool = False
    strength: float = 1.0


def parse(selector: str, field: str = "layers") -> list[Term]:
    """Split a selector into terms. LayerError for an empty one."""
    terms = []
    for part in selector.split(","):
        whole = part.strip()
        if not whole:
            continue
        name, equals, number = whole.partition("=")
        exclude = name.startswith("!")
        text = name.removeprefix("!").strip()
        if not text or (exclude and equals):
            raise LayerError(f"{field}: {whole!r} cannot be read; allowed: {GRAMMAR}")
        terms.append(Term(text, exclude, _strength(number, whole, field) if equals else 1.0))
    if not terms:
        raise LayerError(f"{field}: {selector!r} names no layer; allowed: {GRAMMAR}")
    return terms


def pick(layers: Sequence[N], selector: str, kind: str = "", field: str = "layers") -> list[tuple[N, float]]:
    """(layer, strength) of those a selector names, in their own order; a later term overrides an earlier one.
    LayerError lists what exists where something does not. ``field``: named in messages."""
    terms = parse(selector, field)
    chosen: dict[int, float] = dict.fromkeys(range(len(layers)), 1.0) if all(t.exclude for t in terms) else {}
    for term in terms:
        matches = _matcher(term.text, layers, field)
        hits = [i for i, layer in enumerate(layers) if matches(layer)]
        if not hits:
            raise LayerError(f"{field}: {term.text!r} matches nothing; {existing(layers, kind)}")
        for i in hits:
            if term.exclude:
                chosen.pop(i, None)
            else:
                chosen[i] = term.strength
    left = [(layer, chosen[i]) for i, layer in enumerate(layers) if chosen.get(i, 0.0) > 0]
    if not left:
        raise LayerError(f"{field}: {selector!r} leaves no layer; {existing(layers, kind)}")
    return left


def existing(layers: Sequence[Named], kind: str = "") -> str:
    """What can be named, in one line: "this model has d0-d5, m0, u0-u8"."""
    spans = []
    for path in dict.fromkeys(layer.notation[0] for layer in layers):
        numbers = sorted({int(layer.notation[1:]) for layer in layers if layer.notation.startswith(path)})
        spans.append(f"{path}{numbers[0]}" + (f"-{path}{numbers[-1]}" if len(numbers) > 1 else ""))
    names = f", by module name e.g. {layers[0].name}" if layers else ""
    return f"this model has {', '.join(spans) or 'none'}{f' ({kind})' if kind else ''}{names}"


def _strength(text: str, whole: str, field: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise LayerError(f"{field}: {whole!r} has the strength {text.strip()!r}; allowed: a number from 0 to 1")
    return value


def _matcher(text: str, layers: Sequence[Named], field: str) -> Callable[[Named], bool]:
    if text.lower() == "all":
        return lambda layer: True
    if span := _RANGE.fullmatch(text):
        return _by_number(span, layers, field)
    if dotted := _DOTTED.fullmatch(text):
        return _by_place(dotted, layers, field)
    if code := _CODE.fullmatch(text):
        part = _LDM[(code[1] or "mid").lower()]
        stem = f"{part}.{int(code[2])}." if code[1] else f"{part}."
        return lambda layer: layer.name.startswith(stem) or layer.alias.startswith(stem)

    def by_name(layer: Named) -> bool:
        for full in (layer.name, layer.alias):
            block = full.rpartition(".")[0]
            if full and (fnmatchcase(full, text) or fnmatchcase(block, text)):
                return True
        return False

    return by_name


def _by_number(span: re.Match[str], layers: Sequence[Named], field: str) -> Callable[[Named], bool]:
    """d0, d0-d3, d0-3: blocks of a path, counted through."""
    path, first, other, last = span.groups()
    low, high = int(first), int(last or first)
    if other not in (None, path) or high < low:
        raise LayerError(f"{field}: {span[0]!r} is not a range; allowed: two numbers of one path, rising, as in d0-d3")
    have = {layer.notation for layer in layers}
    for number in (low, high):
        if f"{path}{number}" not in have:
            raise LayerError(f"{field}: {path}{number} (in {span[0]!r}) does not exist; {existing(layers)}")
    return lambda layer: layer.notation[0] == path and low <= int(layer.notation[1:]) <= high


def _by_place(dotted: re.Match[str], layers: Sequence[Named], field: str) -> Callable[[Named], bool]:
    """d2.0-9: blocks 0 to 9 of the path's transformer 2."""
    path, transformer, first, last = dotted.groups()
    low, high = int(first), int(last or first)
    wanted = [f"{path}{int(transformer)}.{i}" for i in range(low, high + 1)]
    have = {layer.place for layer in layers}
    missing = [place for place in (wanted[0], wanted[-1]) if place not in have] if wanted else [dotted[0]]
    if missing:
        raise LayerError(f"{field}: {missing[0]} (in {dotted[0]!r}) does not exist; this model has {_places(have)}")
    return lambda layer: layer.place in wanted


def _places(have: set[str]) -> str:
    """ "d0.0-1, d1.0-1, m0.0-9": the transformers and how deep they are."""
    depth: dict[str, int] = {}
    for place in sorted(have, key=lambda p: (p[:1], [int(n) for n in re.findall(r"\d+", p)])):
        stem, _, index = place.partition(".")
        if index:
            depth[stem] = int(index)
    return ", ".join(f"{stem}.0" + (f"-{top}" if top else "") for stem, top in depth.items()) or "no such places"
