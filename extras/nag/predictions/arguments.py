"""The arguments of a denoiser's forward, for asking it once more: a copy taken in time, some rows of it, another text.

Known shapes: diffusers (``encoder_hidden_states``, residuals of ControlNet), ldm and sgm (``context``), Forge
(``control``, ``transformer_options``).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from dataclasses import replace as replace_field
from typing import Any

from torch import Tensor

from ..kept import rows_of

_DEEPEST = 8  # containers within containers
_TEXT = ("encoder_hidden_states", "context")
_TEXT_PLACE = 2  # (latent, time, text) in UNets
TEXT_MASKS = ("encoder_attention_mask", "attention_mask")  # of the prompt alone: all of another text counts
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def snapshot(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """A copy of all lists and mappings, not of the tensors: models take their residuals out of the lists given."""
    return walked((args, dict(kwargs)), lambda x: x)


def walked(arguments: Arguments, leaf: Callable[[Any], Any]) -> Arguments:
    """New containers, with ``leaf`` applied to what is in them."""
    args, kwargs = arguments
    return tuple(_walk(a, leaf) for a in args), {k: _walk(v, leaf) for k, v in kwargs.items()}


def batch_of(arguments: Arguments) -> int:
    """Rows of the call: those of its first tensor. ValueError where there is none."""
    args, kwargs = arguments
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.dim() > 1:
            return int(value.shape[0])
    raise ValueError("the model was called without a tensor")


def latent_of(arguments: Arguments) -> Tensor:
    """The first tensor with more than one dimension: the latent."""
    args, kwargs = arguments
    return next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.dim() > 1)


def take_rows(arguments: Arguments, rows: Sequence[int], batch: int) -> Arguments:
    """The same call for some rows of its batch: every tensor whose first dimension is the batch is cut."""
    if list(rows) == list(range(batch)):
        return snapshot(*arguments)

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch:
            return rows_of(value, rows)
        return value

    new = walked(arguments, cut)
    for options in (v for k, v in new[1].items() if k == "transformer_options" and isinstance(v, dict)):
        _mark_conditional(options, len(rows), batch)
    return new


def text_of(arguments: Arguments, forward: Callable[..., Any]) -> Tensor:
    """The text of the call, (rows, tokens, channels). ValueError if its place is not known."""
    args, kwargs = arguments
    where = _place_of_text(arguments, forward)
    found: Tensor = kwargs[where] if isinstance(where, str) else args[where]
    return found


def with_text(arguments: Arguments, text: Tensor, forward: Callable[..., Any]) -> Arguments:
    """The same call with another text. ``text``: (rows, tokens, channels). ValueError if the text's place is not
    known."""
    where, old = _place_of_text(arguments, forward), text_of(arguments, forward)
    args, kwargs = list(arguments[0]), dict(arguments[1])
    if isinstance(where, str):
        kwargs[where] = text.to(old)
    else:
        args[where] = text.to(old)
    if old.shape[-1] != text.shape[-1]:
        raise ValueError(f"negative is {text.shape[-1]} wide; this model's text is {old.shape[-1]}")
    for mask in TEXT_MASKS:
        if isinstance(kwargs.get(mask), Tensor):
            kwargs[mask] = None
    ids = kwargs.get("txt_ids")
    if isinstance(ids, Tensor) and ids.shape[-2] != text.shape[1]:  # Flux: all text tokens have the same position
        kwargs["txt_ids"] = ids[..., :1, :].expand(*ids.shape[:-2], text.shape[1], ids.shape[-1])
    return tuple(args), kwargs


def tensor_of(output: Any) -> Tensor:
    """The prediction in what a forward returns: itself, the first of a tuple, or its ``sample``."""
    found = output if isinstance(output, Tensor) else output[0] if isinstance(output, (tuple, list)) else None
    found = getattr(output, "sample", None) if found is None else found
    if not isinstance(found, Tensor):
        raise ValueError(
            f"the model returned {type(output).__name__}; known: a tensor, a tuple, an object with .sample"
        )
    return found


def output_with(output: Any, tensor: Tensor) -> Any:
    """The same kind of return value with another prediction."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, (tuple, list)):
        return type(output)((tensor, *output[1:]))
    if is_dataclass(output) and not isinstance(output, type):
        return replace_field(output, sample=tensor)
    new = copy.copy(output)
    new.sample = tensor
    return new


def _walk(value: Any, leaf: Callable[[Any], Any], depth: int = 0) -> Any:
    """``value`` with new containers, and ``leaf`` applied to what is in them."""
    if depth > _DEEPEST:
        return value
    if isinstance(value, dict):
        new = copy.copy(value)
        for key, inner in value.items():
            new[key] = _walk(inner, leaf, depth + 1)
        return new
    if isinstance(value, tuple):
        inner = [_walk(v, leaf, depth + 1) for v in value]
        return type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    if type(value) is list:
        return [_walk(v, leaf, depth + 1) for v in value]
    return leaf(value)


def _mark_conditional(options: dict[str, Any], rows: int, batch: int) -> None:
    """Forge tells patches which parts of the batch are conditional (0); here, all that is left."""
    parts = options.get("cond_or_uncond")
    if isinstance(parts, list) and parts and batch % len(parts) == 0:
        options["cond_or_uncond"] = [0] * max(1, rows // (batch // len(parts)))
    if "cond_indices" in options and "uncond_indices" in options:
        options["cond_indices"], options["uncond_indices"] = list(range(rows)), []


def _place_of_text(arguments: Arguments, forward: Callable[..., Any]) -> str | int:
    """The text's name, or its place among the arguments without one."""
    args, kwargs = arguments
    name = next((n for n in _TEXT if isinstance(kwargs.get(n), Tensor)), None)
    if name is not None:
        return name
    try:
        names = list(inspect.signature(forward).parameters)
    except (TypeError, ValueError):
        names = []
    place = next((names.index(n) for n in _TEXT if n in names), _TEXT_PLACE)
    if len(args) <= place or not isinstance(args[place], Tensor) or args[place].dim() != 3:
        raise ValueError(f"the model's text is not found; known: {', '.join(_TEXT)}, or its third argument")
    return place
