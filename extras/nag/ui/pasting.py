"""Pasted settings, as controls of the panel take them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..fields import FIELDS, MAX_SIGMA
from .infotext import Reader

EDGES = [name for name, field in FIELDS.items() if field.sigma_maximum is not None]
"""The starts and ends of windows, whose range depends on the unit."""


def reader_for(name: str) -> Reader:
    """The reader of an option; the ends of windows bring their range along where it is that of sigma."""
    return (_RangeReader if name in EDGES else Reader)(name)


class _RangeReader(Reader):
    def __call__(self, params: Any) -> Any:
        value = super().__call__(params)
        if value is None or params.get(FIELDS["unit"].infotext_key) != "sigma":
            return value
        return _Update(gr.update(value=value, maximum=MAX_SIGMA))


class _Update(dict[str, Any]):
    """A control's update which also passes for its value: Forge's API reads pasted settings as numbers."""

    def __float__(self) -> float:
        return float(self["value"])
