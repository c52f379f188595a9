"""The controls of one tab, under A1111's element ids, and the hooks that let scripts see each of them being made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from extras.nag.ui.controls import QUIET
from extras.studio.page import compare, paste
from modules import script_callbacks, shared
from modules.ui_components import InputAccordion, ToolButton

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
SILENT: dict[str, Any] = {**QUIET, **PRIVATE}
"""What is over at once. Not through Gradio's queue: where a page asks for a picture just when another queued event
ends, Gradio may lose the answer."""

FIRST_PROMPT = "a nerd on a pink background"
FIRST_SEED = 1
"""A number, not -1: the second press of Generate shows what the changed setting did, not another throw of the dice."""

EXAMPLES = (
    ("nerd \N{MINUS SIGN} glasses", FIRST_PROMPT, "glasses"),
    ("king \N{MINUS SIGN} crown", "a king on a teal background", "crown"),
    ("cottage \N{MINUS SIGN} tree", "a cottage", "tree"),
)
"""(the button's words, prompt, NAG negative): one click and they are drawn."""

NARROW = {"min_width": 140}  # two in a row
RESIZE_MODES = ("Just resize", "Crop and resize", "Resize and fill")


@dataclass
class Tab:
    """One tab's components. ``fields``: job option -> component; ``script_inputs``: the scripts' controls, in order;
    ``examples``: (button, prompt, NAG negative)."""

    name: str
    runner: Any
    fields: dict[str, Any] = field(default_factory=dict)
    script_inputs: list = field(default_factory=list)
    buttons: dict[str, Any] = field(default_factory=dict)
    examples: list[tuple[Any, str, str]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    paste: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def is_img2img(self) -> bool:
        return self.name == "img2img"

    def make(self, kind: type, elem_id: str, **options: Any) -> Any:
        """``kind(...)`` with the tab's name before its id; scripts are told before and after, as in A1111."""
        options["elem_id"] = f"{self.name}_{elem_id}"
        script_callbacks.before_component_callback(None, **options)
        self.runner.before_component(None, **options)
        component = kind(**options)
        script_callbacks.after_component_callback(component, **options)
        self.runner.after_component(component, **options)
        return component

    def slider(
        self, field: str, elem_id: str, label: str, span: tuple[float, float, float], value: Any, **options: Any
    ) -> None:
        """The slider of a job option. ``span``: lowest, highest, step."""
        low, high, step = span
        options = {"label": label, "minimum": low, "maximum": high, "step": step, "value": value} | options
        self.fields[field] = self.make(gr.Slider, elem_id, **options)

    def denoising(self, value: float, **options: Any) -> None:
        """How much a second pass, or a picture's redrawing, changes."""
        self.slider("denoising_strength", "denoising_strength", "Denoising strength", (0, 1, 0.01), value, **options)


@contextmanager
def plain_column(**options: Any) -> Iterator[None]:
    with gr.Column(**options):
        yield


def build_tab(name: str, runner: Any, defaults: dict[str, Any], engine: Any, panel: dict[str, Any]) -> Tab:
    """Lay out a tab inside the current gr.Blocks. ``defaults``: engine's field -> first value; ``panel``: the same for
    the script controls whose elem_id ends so."""
    tab = Tab(name, runner)
    with gr.Row(elem_classes="studio-tab"):
        with plain_column(scale=4, min_width=330, elem_classes="studio-left"):
            _prompts(tab)
            if tab.is_img2img:
                _source_picture(tab)
            else:
                _examples(tab)
            with gr.Group(elem_id=f"{name}_settings", elem_classes="studio-settings"):
                _settings(tab, defaults, engine)
        with (
            plain_column(scale=4, min_width=330, elem_classes="studio-middle"),
            gr.Group(elem_id=f"{name}_script_container", elem_classes="studio-scripts"),
        ):
            tab.script_inputs = list(runner.setup_ui(tab.is_img2img))
        with plain_column(scale=5, min_width=380, elem_classes="studio-right"):
            _results(tab)
    _open_panel(tab, panel)
    tab.paste = paste.own_fields(tab) + list(runner.infotext_fields)
    return tab


def _open_panel(tab: Tab, first: dict[str, Any]) -> None:
    """Here the first script's panel is open from the start, and writing a negative into it switches it on."""
    guidance = guidance_of(tab)
    if not guidance:
        return
    switch, negative = guidance
    switch.accordion.open = True
    for control in tab.script_inputs:
        for name, value in first.items():
            if str(control.elem_id).endswith(f"_{tab.name}_{name}"):
                control.value = value
    for script in tab.runner.scripts:  # what /sdapi/v1/script-info says is what the page shows
        for told, control in zip(script.api_info.args if script.api_info else (), script.controls or (), strict=False):
            told.value = control.value
    negative.change(  # gradio's "input" misses the first one: a text pasted in one go
        lambda text: True if text.strip() else gr.skip(),
        [negative],
        [switch],
        **SILENT,
    )


def guidance_of(tab: Tab) -> list[Any]:
    """The switch of the first script with one, and the box of its negative prompt; nothing where there are not both."""
    kinds = (InputAccordion, gr.Textbox)
    found = [next((c for c in tab.script_inputs if isinstance(c, kind)), None) for kind in kinds]
    return [] if None in found else found


def _prompts(tab: Tab) -> None:
    f = tab.fields
    with gr.Group(elem_id=f"{tab.name}_prompt_container", elem_classes="studio-prompts"):
        f["prompt"] = tab.make(
            gr.Textbox,
            "prompt",
            label="Prompt",
            value=FIRST_PROMPT,
            lines=2,
            elem_classes=["prompt"],
            placeholder="Prompt (Ctrl+Enter generates)",
        )
        f["negative_prompt"] = tab.make(
            gr.Textbox,
            "neg_prompt",
            label="Negative prompt",
            value="",
            lines=1,
            elem_classes=["prompt"],
            placeholder="Acts only at CFG above 1",
        )
    with gr.Row(elem_classes="studio-go"):
        tab.buttons["generate"] = tab.make(gr.Button, "generate", value="Generate", variant="primary", scale=4)
        tab.buttons["interrupt"] = tab.make(
            gr.Button, "interrupt", value="Interrupt", variant="stop", scale=1, min_width=110
        )


def _examples(tab: Tab) -> None:
    with gr.Row(elem_id=f"{tab.name}_examples", elem_classes="studio-examples"):
        for number, (words, prompt, negative) in enumerate(EXAMPLES, 1):
            button = tab.make(gr.Button, f"example_{number}", value=words, size="sm", min_width=90)
            tab.examples.append((button, prompt, negative))


def _source_picture(tab: Tab) -> None:
    f = tab.fields
    f["init_image"] = tab.make(
        gr.Image,
        "image",
        label="Picture to start from",
        type="pil",
        image_mode="RGBA",
        height=220,
        sources=["upload", "clipboard"],
        elem_classes="studio-crisp",
    )
    with gr.Row():
        f["resize_mode"] = tab.make(
            gr.Radio,
            "resize_mode",
            label="Resize mode",
            choices=list(RESIZE_MODES),
            type="index",
            value=RESIZE_MODES[0],
            scale=3,
        )
        tab.denoising(0.75, scale=2)


def _settings(tab: Tab, defaults: dict[str, Any], engine: Any) -> None:
    f = tab.fields
    with gr.Row():
        f["sampler_name"] = tab.make(
            gr.Dropdown,
            "sampling",
            label="Sampling method",
            value=defaults["sampler_name"],
            choices=engine.sampler_names(),
            **NARROW,
        )
        f["scheduler"] = tab.make(
            gr.Dropdown,
            "scheduler",
            label="Schedule type",
            value=defaults["scheduler"],
            choices=engine.scheduler_names(),
            **NARROW,
        )
    with gr.Row():
        tab.slider("steps", "steps", "Sampling steps", (1, 150, 1), defaults["steps"], **NARROW)
        tab.slider("cfg_scale", "cfg_scale", "CFG scale", (1, 30, 0.1), defaults["cfg_scale"], **NARROW)
    with gr.Row():
        tab.slider("width", "width", "Width", (64, 2048, 8), defaults["width"], **NARROW)
        tab.slider("height", "height", "Height", (64, 2048, 8), defaults["height"], **NARROW)
    with gr.Row():
        tab.slider("n_iter", "batch_count", "Batch count", (1, 100, 1), 1, **NARROW)
        tab.slider("batch_size", "batch_size", "Batch size", (1, 64, 1), 1, **NARROW)
    with gr.Row(elem_id=f"{tab.name}_seed_row", elem_classes="studio-seed"):
        f["seed"] = tab.make(
            gr.Number,
            "seed",
            label="Seed (-1: a new one each time)",
            value=FIRST_SEED,
            precision=0,
            scale=6,
            min_width=120,
        )
        random = tab.make(ToolButton, "random_seed", value="\N{MINUS SIGN}1", scale=0, min_width=48)
        random.click(lambda: -1, outputs=[f["seed"]], **SILENT)
        tab.buttons["reuse_seed"] = tab.make(
            ToolButton, "reuse_seed", value="\N{BLACK UNIVERSAL RECYCLING SYMBOL}", scale=0, min_width=48
        )
    if not tab.is_img2img:
        _hires(tab, engine)


def _hires(tab: Tab, engine: Any) -> None:
    f = tab.fields
    accordion = tab.make(InputAccordion, "hr", value=False, label="Hires. fix (a second pass, larger)")
    f["enable_hr"] = accordion
    with accordion:
        with gr.Row():
            f["hr_upscaler"] = tab.make(
                gr.Dropdown,
                "hr_upscaler",
                label="Upscaler",
                value=shared.latent_upscale_default_mode,
                choices=engine.upscaler_names(),
                **NARROW,
            )
            label = "Hires steps (0: as the first pass)"
            tab.slider("hr_second_pass_steps", "hires_steps", label, (0, 150, 1), 0, **NARROW)
        with gr.Row():
            tab.slider("hr_scale", "hr_scale", "Upscale by", (1, 4, 0.05), 2, **NARROW)
            tab.denoising(0.7, **NARROW)


def _results(tab: Tab) -> None:
    o, name = tab.outputs, tab.name
    with gr.Column(elem_id=f"{name}_results", elem_classes="studio-results"):
        o["message"] = gr.HTML("", elem_id=f"{name}_message", elem_classes="studio-message", padding=False)
        o["gallery"] = tab.make(
            gr.Gallery,
            "gallery",
            label="Pictures",
            show_label=False,
            columns=4,
            preview=True,
            format="png",
            object_fit="contain",
            height=520,
            interactive=False,
            elem_classes="studio-crisp",
            buttons=["download", "fullscreen"],
        )
        compare.build(tab)
        with gr.Row(elem_classes="studio-send"):
            tab.buttons["compare"] = tab.make(gr.Button, "compare", value=compare.ASK, size="sm", interactive=False)
            tab.buttons["to_img2img"] = tab.make(gr.Button, "send_to_img2img", value="Send to img2img", size="sm")
            tab.buttons["to_pnginfo"] = tab.make(gr.Button, "send_to_pnginfo", value="Send to PNG Info", size="sm")
        o["progress"] = gr.HTML("", elem_id=f"{name}_progress", elem_classes="studio-progress", padding=False)
        o["report"] = gr.HTML("", elem_id=f"html_log_{name}", elem_classes="studio-report", padding=False)
        o["info"] = gr.HTML("", elem_id=f"html_info_{name}", elem_classes="studio-info", padding=False)
        o["texts"] = gr.State([])
