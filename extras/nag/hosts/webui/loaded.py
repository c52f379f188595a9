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
    try:
        if model is None:
            raise LookupError
        network = family_of(model).network(model)
    except LookupError:  # Forge has a model of no use in place of none
        raise LayerError("no model is loaded yet; making a picture loads it") from None
    return find_layers(network)
