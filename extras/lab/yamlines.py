"""YAML as plain data, and where in the file each part of it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import PlanError

MAX_PLACES = 200_000
Place = tuple[Any, ...]
"""Keys and indices from the top of the document: ("arms", 2, "nag", "scale")."""


def read(path: Path) -> tuple[Any, dict[Place, int]]:
    """(the document, place -> line from 1). PlanError where it cannot be read, is no YAML, or names a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise PlanError([f"{path}: is not text in UTF-8"]) from None
    lines: dict[Place, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _walk(node, (), lines, str(path))
        return yaml.safe_load(text), lines
    except RecursionError:
        raise PlanError([f"{path}: is nested too deeply, or contains itself"]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise PlanError([f"{where}: is not YAML: {error.problem or error.context}"]) from None
    except yaml.YAMLError as error:
        raise PlanError([f"{path}: is not YAML: {error}"]) from None


def line_of(lines: dict[Place, int], place: Place) -> int:
    """The line of a place, or of the nearest thing around it that has one."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _walk(node: yaml.Node, place: Place, lines: dict[Place, int], path: str) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if len(lines) > MAX_PLACES:  # aliases of aliases: a page of text that stands for millions of values
        raise PlanError([f"{path}: has more than {MAX_PLACES} values, aliases written out"])
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = key.value
            line = key.start_mark.line + 1
            if name in seen:
                raise PlanError([f"{path}:{line}: {name}: stands here twice"])
            seen.add(name)
            lines[(*place, name)] = line
            _walk(value, (*place, name), lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*place, index), lines, path)
