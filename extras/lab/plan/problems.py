"""What is wrong with a plan, in lines: ``file:line: field: value, what is allowed``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extras.nag.field import SettingsError

from ..yamlines import Place, line_of
from .arms import Arm, Handoff
from .asking import Hypothesis, Measure, Search
from .drawing import Model, Pair, Seeds
from .part import At, Part


def problems(error: Any, path: Path, lines: dict[Place, int], whole: type[Part]) -> Iterator[str]:
    """The lines of one error of pydantic. ``whole``: the model of the plan itself."""
    place = tuple(error["loc"])
    cause = (error.get("ctx") or {}).get("error")
    if isinstance(cause, SettingsError):
        for field, value, allowed in cause.errors:
            at = (*place, field)
            yield f"{path}:{line_of(lines, at)}: {_dotted(at)}: {value!r} is not possible, allowed: {allowed}"
        return
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        text = f"there is no such field here; allowed: {', '.join(_fields_at(place, whole))}"
    elif error["type"] == "missing":
        text = "is missing"
    elif error["type"] != "value_error":
        text = f"{error['input']!r} is not possible: {text[0].lower()}{text[1:]}"
    if isinstance(cause, At):
        place = (*place, *cause.place)
    yield f"{path}:{line_of(lines, place)}: {_dotted(place) or 'the plan'}: {text}"


def _dotted(place: Place) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")


PARTS: dict[str, type[Part]] = {
    "models": Model,
    "pairs": Pair,
    "seeds": Seeds,
    "arms": Arm,
    "hypotheses": Hypothesis,
    "measure": Measure,
    "search": Search,
}


def _fields_at(place: Place, whole: type[Part]) -> list[str]:
    """The fields of the part that ``place`` (the unknown one included) lies in."""
    if len(place) < 2:
        return list(whole.model_fields)
    kind = Handoff if "handoff" in place[:-1] else PARTS.get(str(place[0]), whole)
    return list(kind.model_fields)
