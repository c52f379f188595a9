"""The model that the host has in memory, as the panel shows it."""

from __future__ import annotations

from collections.abc import Sequence

from ...layers import Layer, LayerError, find_layers
from .families import family_of
from .grid import loaded_model


def loaded_layers() -> Sequence[Layer]:
    """The attention layers of the model in memory; LayerError where there is none, or none that is known. Never
    loads one."""
    model = loaded_model()
    if model is None:
        raise LayerError("no model is loaded yet")
    try:
        network = family_of(model).network(model)
    except LookupError as error:
        raise LayerError(str(error)) from None
    return find_layers(network)
