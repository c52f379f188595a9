"""The panel, made from the table of options: it has a control for each of FIELDS, in that order, and no other
option. Works in gradio 3.41, 4 and 6."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gradio as gr

from ..fields import FIELDS, MAX_SIGMA, Field, SettingsError
from ..schedule import Schedule
from ..settings import Settings, list_presets, load_preset
from .infotext import Reader
from .plot import error_plot, schedule_svg

GridOf = Callable[[str, "str | None", int], Any]
_ROWS = (
    ("scale", "tau", "alpha"),
    ("start", "end", "unit"),
    ("ramp_steps", "cooldown", "cooldown_drop"),
    ("layers", "empty_negative", "hires", "skip_uncond"),
)
_SHAPE = ("start", "end", "unit", "ramp_steps", "cooldown", "cooldown_drop")  # what the plot shows
_HOST = (
    "steps",
    "sampling",
    "scheduler",
    "cfg_scale",
)  # ends of the elem_ids of the host's controls it needs
_QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False}
_NO_PRESET = "(choose)"


class Panel:
    """One per tab. ``front`` has ``last``, the latest report as HTML. ``grid_of``: (sampler, schedule type,
    steps) -> object with times, sigmas, exact."""

    def __init__(self, front: Any, grid_of: GridOf):
        self.front, self.grid_of = front, grid_of
        self.controls: dict[str, Any] = {}
        self._host: dict[str, tuple[Any, Any]] = {}  # the end of elem_id -> (component, the page it is in)
        self._plot: Any = None
        self._wired: Any = None  # the page whose plot follows the controls
        self._built: Any = None  # the page the controls are in

    # -- building ---

    def build(self, tab: str) -> list[Any]:
        """Make the controls; hosts call this several times. Returns them in the order of FIELDS."""

        def name(part: str) -> str:
            return f"nag_time_{tab}_{part}"

        enabled, body = _switch(FIELDS["enabled"], name("enabled"))
        self.controls = {"enabled": enabled}
        with body:
            self._make("negative", name)
            with gr.Row():
                preset = gr.Dropdown(
                    [_NO_PRESET, *list_presets()], value=_NO_PRESET, label="Preset", elem_id=name("preset")
                )
                apply = gr.Button("Apply preset", elem_id=name("preset_apply"))
            note = gr.HTML("", elem_id=name("preset_note"))
            for row in _ROWS:
                with gr.Row():
                    for field in row:
                        self._make(field, name)
            self._plot = gr.HTML(self.plot(*[FIELDS[f].default for f in _SHAPE]), elem_id=name("plot"))
            report = gr.HTML(self.front.last, elem_id=name("report"))
            refresh = gr.Button("Refresh report", elem_id=name("refresh"), elem_classes=["nag-time-hidden"])
        assert set(self.controls) == set(FIELDS), "every option has a control"
        self.controls = {field: self.controls[field] for field in FIELDS}

        start, end, unit = (self.controls[f] for f in ("start", "end", "unit"))
        unit.change(fn=self.ranges_of, inputs=[unit], outputs=[start, end], **_QUIET)
        refresh.click(fn=lambda: self.front.last, inputs=[], outputs=[report], **_QUIET)
        rest = [c for f, c in self.controls.items() if f != "enabled"]
        apply.click(fn=self.apply_preset, inputs=[preset], outputs=[note, *rest], **_QUIET)
        self._built = _page()
        self._wire()
        return list(self.controls.values())

    def paste_fields(self) -> tuple[list[tuple[Any, Any]], list[str]]:
        """(control, reader) pairs and the keys, for the host's paste buttons."""
        readers = {name: _RangeReader if name in ("start", "end") else Reader for name in FIELDS}
        pairs = [(control, readers[name](name)) for name, control in self.controls.items()]
        return pairs, [FIELDS[name].infotext_key for name in self.controls]

    def meet(self, component: Any, elem_id: str | None, tab: str | None) -> None:
        """A control of the host has been made; those of this tab that the plot needs are remembered."""
        for part in _HOST:
            if elem_id == f"{tab}_{part}":
                self._host[part] = (component, _page())
                if self._plot is not None:
                    self._wire()

    def _make(self, name: str, elem_id: Callable[[str], str]) -> None:
        self.controls[name] = _control(FIELDS[name], elem_id(name))

    def _wire(self) -> None:
        """Let the plot follow our sliders and the host's, once its steps slider is in the same page."""
        page = _page()
        here = {part: component for part, (component, where) in self._host.items() if where is page}
        if page is None or self._built is not page or self._wired is page or "steps" not in here:
            return
        self._wired = page
        ours = [self.controls[f] for f in _SHAPE]
        parts = list(here)

        def draw(*values: Any) -> str:
            return self.plot(*values[: len(ours)], **dict(zip(parts, values[len(ours) :], strict=True)))

        for control in [*ours, *here.values()]:
            control.change(fn=draw, inputs=[*ours, *here.values()], outputs=[self._plot], **_QUIET)
        # what the page shows first is what the host's controls hold first
        self._plot.value = draw(*(getattr(control, "value", None) for control in [*ours, *here.values()]))

    # -- what the events do ---

    def plot(
        self, start: Any, end: Any, unit: Any, ramp_steps: Any, cooldown: Any, cooldown_drop: Any,
        steps: Any = 20, sampling: Any = "Euler", scheduler: Any = None, cfg_scale: Any = None,
    ) -> str:  # fmt: skip
        """HTML of the schedule as it would act now."""
        values = (start, end, unit, ramp_steps, cooldown, cooldown_drop)
        try:
            settings = Settings.parse(dict(zip(_SHAPE, values, strict=True)))
            schedule: Schedule = settings.schedule()
        except SettingsError as error:
            told = [f"{FIELDS[f].label}: {v!r} is not possible; allowed: {a}" for f, v, a in error.errors]
            return error_plot(told)
        grid = self.grid_of(str(sampling or ""), scheduler, max(int(steps or 1), 1))
        if not grid.times:
            return error_plot([f"{sampling} makes no model call with {steps} steps; allowed: more steps"])
        return schedule_svg(schedule.resolve(grid.times, grid.sigmas), cfg_scale, grid.exact)

    def ranges_of(self, unit: str) -> list[Any]:
        """The sliders of start and end reach as far as their unit does."""
        top, step = (MAX_SIGMA, 0.01) if unit == "sigma" else (1.0, 0.01)
        return [gr.update(maximum=top, step=step) for _ in ("start", "end")]

    def apply_preset(self, name: str) -> list[Any]:
        """Set what the preset sets; the other options get their defaults, except the negative."""
        keep = [gr.update() for f in FIELDS if f != "enabled"]
        if name == _NO_PRESET:
            return ["", *keep]
        try:
            preset = load_preset(name)
        except SettingsError as error:
            return [error_plot([str(error)]), *keep]
        values = {f: field.default for f, field in FIELDS.items()} | preset.settings
        values = {f: {} if f == "negative" else {"value": value} for f, value in values.items()}
        return [preset_note(preset), *[gr.update(**values[f]) for f in FIELDS if f != "enabled"]]


class _RangeReader(Reader):
    """Start and end bring their range along where it is that of sigma."""

    def __call__(self, params: Any) -> Any:
        value = super().__call__(params)
        if value is None or params.get(FIELDS["unit"].infotext_key) != "sigma":
            return value
        return _Update(gr.update(value=value, maximum=MAX_SIGMA))


class _Update(dict[str, Any]):
    """A control's update which also passes for its value: Forge's API reads pasted settings as numbers."""

    def __float__(self) -> float:
        return float(self["value"])


def preset_note(preset: Any) -> str:
    """What a preset is for, where its numbers come from, and the host settings it goes with."""
    from html import escape

    hints = ", ".join(f"{key} {value}" for key, value in preset.host.items())
    text = f"{preset.note} Source: {preset.source}." + (f" Goes with {hints}." if hints else "")
    return f'<p class="nag-time-note">{escape(text)}</p>'


def _page() -> Any:
    """The gr.Blocks being built now."""
    try:
        from gradio.context import Context
    except ImportError:
        return None
    return getattr(Context, "root_block", None)


def _switch(field: Field, elem_id: str) -> tuple[Any, AbstractContextManager[Any]]:
    """(the enable control, the context for the rest): a header that is a switch where the host has one."""
    try:
        from modules.ui_components import InputAccordion
    except ImportError:
        with gr.Accordion("NAG Time", open=False, elem_id=f"{elem_id}_accordion"):
            box = gr.Checkbox(False, label=field.label, elem_id=elem_id)
            group = gr.Group()
        return box, group
    accordion = InputAccordion(False, label="NAG Time", elem_id=elem_id)
    return accordion, accordion if hasattr(accordion, "__enter__") else nullcontext()


def _control(field: Field, elem_id: str) -> Any:
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
