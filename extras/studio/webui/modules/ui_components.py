"""Gradio components under the names that extensions import; they work in Gradio 3.41, 4 and 6."""

from __future__ import annotations

import inspect

import gradio as gr


def _sends(base: type):
    """Gradio 6 reads what to send to the browser off the signature of __init__. A class that passes everything on says
    here whose signature counts."""

    def mark(cls: type) -> type:
        cls.__init__.__signature__ = inspect.signature(base.__init__)
        return cls

    return mark


class FormRow(gr.Row):
    def get_block_name(self):
        return "row"


class FormColumn(gr.Column):
    def get_block_name(self):
        return "column"


class FormGroup(gr.Group):
    def get_block_name(self):
        return "group"


class FormHTML(gr.HTML):
    def get_block_name(self):
        return "html"


class ResizeHandleRow(gr.Row):
    def get_block_name(self):
        return "row"


@_sends(gr.Button)
class ToolButton(gr.Button):
    """A small button with one symbol."""

    def __init__(self, *args, **kwargs):
        classes = kwargs.pop("elem_classes", [])
        classes = [classes] if isinstance(classes, str) else list(classes)
        super().__init__(*args, elem_classes=["tool", *classes], size="sm", **kwargs)

    def get_block_name(self):
        return "button"


@_sends(gr.Dropdown)
class DropdownMulti(gr.Dropdown):
    def __init__(self, **kwargs):
        super().__init__(multiselect=True, **kwargs)

    def get_block_name(self):
        return "dropdown"


@_sends(gr.Dropdown)
class DropdownEditable(gr.Dropdown):
    def __init__(self, **kwargs):
        super().__init__(allow_custom_value=True, **kwargs)

    def get_block_name(self):
        return "dropdown"


@_sends(gr.Checkbox)
class InputAccordion(gr.Checkbox):
    """A checkbox whose accordion is open while it is ticked; used as ``with InputAccordion(False, label=...)``.

    Its value is the input: True when on.
    """

    global_index = 0

    def __init__(self, value=False, **kwargs):
        if not kwargs.get("render", True):  # Gradio's own copy of a component that an event changes
            kwargs.pop("elem_id", None)
            super().__init__(value, **kwargs)
            return
        self.accordion_id = kwargs.pop("elem_id", None)
        if self.accordion_id is None:
            self.accordion_id = f"input-accordion-{InputAccordion.global_index}"
            InputAccordion.global_index += 1
        label = kwargs.pop("label", "Accordion")
        super().__init__(value, label=label, elem_id=f"{self.accordion_id}-checkbox", **kwargs)
        self.accordion = gr.Accordion(
            label=label, open=bool(value), elem_id=self.accordion_id, elem_classes=["input-accordion"]
        )
        self.change(
            fn=lambda on: gr.update(open=bool(on)),
            inputs=[self],
            outputs=[self.accordion],
            show_progress="hidden",
            queue=False,
        )

    def extra(self):
        return gr.Column(elem_id=self.accordion_id + "-extra", elem_classes=["input-accordion-extra"], min_width=0)

    def __enter__(self):
        self.accordion.__enter__()
        return self

    def __exit__(self, *exc):
        self.accordion.__exit__(*exc)

    def get_block_name(self):
        return "checkbox"
