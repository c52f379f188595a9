"""What can be guided in the loaded model: a table of its attention layers, and what the selector takes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

from ..selector import LayerError, pick
from .controls import QUIET, passing
from .markup import Value, note

LayersOf = Callable[[], Sequence[Any]]
_HEAD = ("strength", "layer", "place", "kind", "heads", "width", "name")


class LayerTable:
    """One per tab. ``layers_of``: the attention layers of the model in memory now (layers.find_layers), LayerError
    where there is no model or none that is known."""

    def __init__(self, layers_of: LayersOf):
        self.layers_of = layers_of

    def build(self, name: Callable[[str], str], selector: Any) -> None:
        """An accordion with the table; ``selector`` is the control it follows."""
        self.said = gr.HTML("", elem_id=name("layers_said"))
        with gr.Accordion("Layers of the loaded model", open=False, elem_id=name("layers_accordion")):
            with gr.Row(elem_classes=["nag-time-row"]):
                self.filter = passing(
                    gr.Textbox(
                        "",
                        label="Show only",
                        info="Part of a layer's name, number or kind.",
                        placeholder="attn2",
                        elem_id=name("layers_filter"),
                    )
                )
                self.list = gr.Button("List the layers", size="sm", elem_id=name("layers_list"))
            self.table = gr.HTML("", elem_id=name("layers_table"))
        both: dict[str, Any] = {"inputs": [selector, self.filter], "outputs": [self.said, self.table]}
        for event in (self.list.click, self.filter.change, selector.change):
            event(fn=self.listed, **both, **QUIET)

    # -- what the events do ---

    def listed(self, selector: str, filter: str) -> list[str]:
        """[what the selector takes, or why it cannot be; the table of the layers that the filter lets through]."""
        try:
            layers = list(self.layers_of())
        except LayerError as error:
            return [note("There are no layers to show:", Value(str(error)), kind="none"), ""]
        kind = "joint" if any(layer.kind == "joint" for layer in layers) else "cross"
        own = [layer for layer in layers if layer.kind == kind]
        taken: dict[str, float] = {}
        try:
            taken = {layer.name: strength for layer, strength in pick(own, selector, kind)}
            said = note("guided layers", Value(f"{len(taken)} / {len(own)}"))
        except LayerError as error:
            said = note("This selection cannot be used:", Value(str(error)), kind="error")
        wanted = (filter or "").strip().lower()
        rows = [_cells(layer, taken.get(layer.name)) for layer in layers]
        shown = [row for row in rows if any(wanted in cell.lower() for cell in row)]
        if not shown:
            return [said, note("No layer has this in its name, number or kind:", Value(wanted))]
        return [said, _table(shown)]


def no_layers() -> Sequence[Any]:
    """For a host that cannot show its model."""
    raise LayerError("no model is loaded yet")


def _cells(layer: Any, strength: float | None) -> tuple[str, ...]:
    alias = f" = {layer.alias}" if layer.alias else ""
    about = (layer.notation, layer.place, layer.kind, str(layer.heads), str(layer.width), layer.name + alias)
    return ("" if strength is None else f"{strength:g}", *about)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{title}</th>' for title in _HEAD)
    body = ""
    for row in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        body += (f'<tr class="nag-time-taken">{cells}' if row[0] else f"<tr>{cells}") + "</tr>"
    return (
        f'<div class="nag-time-scroll" tabindex="0"><table class="nag-time-layers"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
