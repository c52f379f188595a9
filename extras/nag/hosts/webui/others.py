"""What other extensions have done to the layers that are to be guided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def clash(layers: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """What to say of attention that is not the host's own any more, or "". ``kwargs``: of a model call.

    A guided layer's result is seen after its attention. Where an extension adds to that (an image prompt, the parts of
    a regional one), its share is guided along.
    """
    modules = [getattr(layer, "module", None) for layer in layers]
    replaced = [m.__dict__["forward"] for m in modules if m is not None and _is_foreign(m)]
    options = kwargs.get("transformer_options") or {}
    patches = (options.get("patches_replace") or {}).get("attn2") or {}
    by = [*replaced, *patches.values()]
    if not by:
        return ""
    who = sorted({_owner(one) for one in by} - {""})
    named = f" ({', '.join(who[:3])})" if who else ""
    return f"another extension{named} changes the attention of {len(by)} layers: what it adds there is guided too"


def _is_foreign(module: Any) -> bool:
    """Whether the module has a forward of somebody else's. Who undoes a patch may leave the host's own method there."""
    own = module.__dict__.get("forward")
    return own is not None and getattr(own, "__module__", None) != type(module).forward.__module__


def _owner(function: Any) -> str:
    function = getattr(function, "func", function)  # partial
    name = getattr(function, "__module__", None) or type(function).__module__ or ""
    return str(name).removesuffix(".py").rpartition(".")[2]  # hosts name a script's module after its file
