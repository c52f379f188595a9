"""The controls that the panel is made of, alike in gradio 3.41, 4 and 6."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gradio as gr

from ..field import Field

QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False}
"""For events that are over at once."""
HIDDEN = "nag-time-hidden"
"""Class of a button that only our script presses: gradio 6 leaves an invisible one out of the page."""


def page() -> Any:
    """The gr.Blocks being built now."""
    try:
        from gradio.context import Context
    except ImportError:
        return None
    return getattr(Context, "root_block", None)


def switch(field: Field, elem_id: str) -> tuple[Any, AbstractContextManager[Any]]:
    """(the enable control, the context for the rest): a header that is a switch where the host has one."""
    try:
        from modules.ui_components import InputAccordion
    except ImportError:
        with gr.Accordion("NAG Time", open=False, elem_id=f"{elem_id}_accordion"):
            box = gr.Checkbox(field.default, label=field.label, elem_id=elem_id)
            group = gr.Group()
        return box, group
    accordion = InputAccordion(field.default, label="NAG Time", elem_id=elem_id)
    return accordion, accordion if hasattr(accordion, "__enter__") else nullcontext()


def control(field: Field, elem_id: str) -> Any:
    """The control of one option, with its default, range, words."""
    common: dict[str, Any] = {"label": field.label, "elem_id": elem_id, "info": field.help}
    if field.type == "bool":
        return gr.Checkbox(field.default, **common)
    if field.type == "choice":
        return gr.Radio(list(field.choices), value=field.default, **common)
    if field.type == "str":
        tall = field.name == "negative"
        if tall:  # Ctrl+Up/Down works in what hosts take for a prompt
            common |= {"elem_classes": ["prompt"], "placeholder": "glasses"}
        return gr.Textbox(field.default, lines=2 if tall else 1, **common)
    assert field.minimum is not None and field.maximum is not None
    return gr.Slider(field.minimum, field.maximum, value=field.default, step=field.step, **common)


def passing(component: Any) -> Any:
    """The component, marked as one whose value the host is not to keep for the next start."""
    component.do_not_save_to_config = True
    return component
