"""What other extensions have done to the layers that are to be guided."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ...guidance import Guidance
from ...run import Run

_PLACE = re.compile(r"(input|middle|output)_blocks?\.(\d+)\..*transformer_blocks\.(\d+)\.")


class Others:
    """What others have done to the layers of one guidance: seen at every model call, told when it is over."""

    def __init__(self) -> None:
        self._by: dict[int, str] = {}  # layer (index) -> who

    def watch(self, guidance: Guidance, kwargs: Mapping[str, Any]) -> None:
        """Before a model call with ``kwargs``: what others add to a layer is to keep its own strength."""
        for run in guidance.runs:
            if isinstance(run, Run):
                found = changed(run.layers, kwargs)
                self._by.update(found)
                run.separate(found)

    def told(self, guidance: Guidance) -> dict[str, list[str]]:
        """Method -> what to say, once it is closed."""
        result = {}
        for run in guidance.runs:
            if isinstance(run, Run):
                missed = [layer.index for layer in run.layers if layer.name in run.state.missed]
                result[run.method] = clash(self._by, run.mixed, missed)
        return result


def changed(layers: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[int, str]:
    """Layers (index) whose attention is not the host's own alone -> by whom, "" where that is unknown. ``kwargs``: of
    a model call."""
    options = kwargs.get("transformer_options") or {}
    replaced = (options.get("patches_replace") or {}).get("attn2") or {}
    patches = (options.get("patches") or {}).get("attn2_patch") or ()
    found = {}
    for layer in layers:
        module = getattr(layer, "module", None)
        if module is None or layer.kind != "cross":
            continue
        if _is_foreign(module):
            found[layer.index] = _owner(module.__dict__["forward"])
        elif replaced and (function := _at(layer, replaced)) is not None:
            found[layer.index] = _owner(function)
        elif patches:
            found[layer.index] = _owner(patches[0])
    return found


def clash(by: Mapping[int, str], mixed: Collection[int], missed: Collection[int]) -> list[str]:
    """What to say of such layers (index), after a run. ``by``: of changed(). ``mixed``: where what others add could not
    be told apart; ``missed``: which could not be guided."""
    told = []
    for layers, what in ((mixed, ": what it adds there is guided too"), (missed, " that could not be guided")):
        among = [index for index in layers if index in by]
        who = sorted({by[index] for index in among} - {""})
        named = f" ({', '.join(who[:3])})" if who else ""
        if among:
            told.append(f"another extension{named} changes the attention of {len(among)} layers{what}")
    return told


def _at(layer: Any, patches: Mapping[Any, Any]) -> Any:
    """The patch at this layer. Hosts of the Forge family name the place (block, number, transformer block)."""
    place = _PLACE.match(layer.name) or _PLACE.match(layer.alias)
    if place is None:
        return None
    kind, number, inner = place[1], int(place[2]), int(place[3])
    if kind == "middle":
        number = 0
    return patches.get((kind, number, inner), patches.get((kind, number)))


def _is_foreign(module: Any) -> bool:
    """Whether the module has a forward of somebody else's. Who undoes a patch may leave the host's own method there."""
    own = module.__dict__.get("forward")
    return own is not None and getattr(own, "__module__", None) != type(module).forward.__module__


def _owner(function: Any) -> str:
    function = getattr(function, "func", function)  # partial
    name = getattr(function, "__module__", None) or type(function).__module__ or ""
    return str(name).removesuffix(".py").rpartition(".")[2]  # hosts name a script's module after its file
