"""The panel, made from the table of options: it has a control for each of FIELDS, in that order, and no other option.
What one needs first is on top, the rest in an accordion. Works in gradio 3.41, 4 and 6."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gradio as gr

from ..field import SettingsError
from ..fields import FIELDS, GROUPS, MAX_SIGMA
from ..settings import Settings
from ..windows import NAG, cfg_scales, no_effect, windows_of
from .controls import HIDDEN, QUIET, control, page, passing, switch
from .markup import Value, note, refused
from .panel_layers import LayersOf, LayerTable, no_layers
from .panel_presets import Presets
from .pasting import EDGES, reader_for
from .plot import schedule_html

GridOf = Callable[..., Any]
CountTokens = Callable[..., str]
_TOP = ("enabled", "negative", "scale")
_ROWS: dict[str, tuple[tuple[str, ...], ...]] = {
    "nag": (("tau", "alpha", "nag"),),
    "window": (("start", "end", "unit"), ("ramp_steps", "cooldown", "cooldown_drop")),
    "advanced": (("layers",), ("empty_negative", "hires", "skip_uncond")),
}
"""Group of options -> its rows, where it has no accordion of its own. The other options are in rows of three."""
_SHAPE = [f for f, field in FIELDS.items() if field.group == "window" or f in ("nag", "scale", "alpha", "tpg_mode")]
_SHAPE += [f for f in FIELDS if f.endswith(("_scale", "_start", "_end"))]
"""What the plot shows."""
_PLOTTED = ("steps", "sampling", "scheduler", "cfg_scale", "denoising_strength")
_HOST = (*_PLOTTED, "styles")  # ends of the elem_ids of the host's controls it needs
_LAST = "gallery"  # hosts make it after everything of a tab


class Panel:
    """One per tab.

    ``front`` has ``last``, the latest report as HTML. ``grid_of``: (sampler, schedule type, steps, denoising strength
    or None) -> object with times, sigmas, exact. ``layers_of``: the attention layers of the loaded model.
    ``count_tokens``: (text, steps, styles) -> HTML of the host's own counter. ``defaults``: () -> what the controls
    hold at first, where it is not the default of FIELDS.
    """

    def __init__(
        self,
        front: Any,
        grid_of: GridOf,
        layers_of: LayersOf = no_layers,
        count_tokens: CountTokens | None = None,
        defaults: Callable[[], Mapping[str, Any]] = dict,
    ):
        self.front, self.grid_of, self.count_tokens, self.defaults = front, grid_of, count_tokens, defaults
        self.presets, self.layers = Presets(), LayerTable(layers_of)
        self.controls: dict[str, Any] = {}
        self._host: dict[str, tuple[Any, Any]] = {}  # the end of elem_id -> (component, the page it is in)
        self._tab = "txt2img"
        self._built: Any = None  # the page the controls are in
        self._wired: Any = None  # the page in which they follow the host's

    # -- building ---

    def build(self, tab: str) -> list[Any]:
        """Make the controls; hosts call this several times. Returns them in the order of FIELDS."""

        def name(part: str) -> str:
            return f"nag_time_{tab}_{part}"

        self._tab = tab
        enabled, body = switch(FIELDS["enabled"], name("enabled"))
        self.controls = {"enabled": enabled}
        with body:
            self._negative(name)
            self.presets.build(name)
            self._make("scale", name)
            self._plot = gr.HTML("", elem_id=name("plot"))
            with gr.Accordion("Advanced", open=False, elem_id=name("advanced")):
                for group in GROUPS:
                    self._section(group, name)
                self.presets.build_own(name)
            self._report = gr.HTML(self.front.last, elem_id=name("report"))
            self._refresh = gr.Button("Refresh report", elem_id=name("refresh"), elem_classes=[HIDDEN])
        assert set(self.controls) == set(FIELDS), "every option has a control"
        self.controls = {field: self.controls[field] for field in FIELDS}
        first = self.defaults()
        for field, value in first.items():
            passing(self.controls[field]).value = value  # the host's file of first values would go before it
            if first.get("unit") == "sigma" and field in EDGES:
                self.controls[field].maximum = MAX_SIGMA
        self._plot.value = self.plot({f: self.controls[f].value for f in _SHAPE})

        unit = self.controls["unit"]
        unit.change(fn=self.ranges_of, inputs=[unit], outputs=[self.controls[f] for f in EDGES], **QUIET)
        self.presets.wire(self.controls)
        self._built = page()
        return list(self.controls.values())

    def paste_fields(self) -> tuple[list[tuple[Any, Any]], list[str]]:
        """(control, reader) pairs and the keys, for the host's paste buttons."""
        pairs = [(control, reader_for(name)) for name, control in self.controls.items()]
        return pairs, [FIELDS[name].infotext_key for name in self.controls]

    def meet(self, component: Any, elem_id: str | None, tab: str | None) -> None:
        """A control of the host has been made; those of this tab that ours follow or set are remembered. Its last one
        tells that all are there."""
        if not elem_id or not tab or not elem_id.startswith(f"{tab}_"):
            return
        part = elem_id.removeprefix(f"{tab}_")
        if part in _HOST:
            self._host[part] = (component, page())
        elif part == _LAST and self._built is not None and self._built is page() and self._wired is not self._built:
            self._wired = self._built
            self._wire()

    def _make(self, name: str, elem_id: Callable[[str], str]) -> None:
        self.controls[name] = control(FIELDS[name], elem_id(name))

    def _section(self, group: str, name: Callable[[str], str]) -> None:
        """The options of a group that are not on top: under a title, or for a method of its own in an accordion."""
        title, rows = GROUPS[group], _ROWS.get(group, ())
        rest = [f for f, field in FIELDS.items() if field.group == group and not any(f in r for r in (*rows, _TOP))]
        rows = (*rows, *(tuple(rest[i : i + 3]) for i in range(0, len(rest), 3)))
        if group in _ROWS:
            gr.HTML(f'<p class="nag-time-title"><span>{title}</span></p>', elem_id=name(f"title_{group}"))
            around: AbstractContextManager[Any] = nullcontext()
        else:
            around = gr.Accordion(title, open=False, elem_id=name(f"method_{group}"))
        with around:
            for row in rows:
                with gr.Row(elem_classes=["nag-time-row"]):
                    for field in row:
                        self._make(field, name)
        if group == "advanced":
            self.layers.build(name, self.controls["layers"])

    def _negative(self, name: Callable[[str], str]) -> None:
        """The negative's box, and under it, until the page's script has moved it into its corner, the counter."""
        self._make("negative", name)
        if self.count_tokens is not None:
            classes = ["token-counter", "nag-time-tokens"]
            self._tokens = gr.HTML("<span>0/75</span>", elem_id=name("negative_counter"), elem_classes=classes)
            self._count = gr.Button("Count tokens", elem_id=name("negative_count"), elem_classes=[HIDDEN])

    def _wire(self) -> None:
        """Let the plot follow our sliders and the host's; let presets read and set the host's."""
        here = {part: component for part, (component, where) in self._host.items() if where is self._built}
        if self._tab == "txt2img":
            here.pop("denoising_strength", None)  # there it is that of the hires pass
        ours = [self.controls[f] for f in _SHAPE]
        theirs = {part: here[part] for part in _PLOTTED if part in here}
        inputs = [*ours, *theirs.values()]

        def draw(*values: Any) -> str:
            shape = dict(zip(_SHAPE, values[: len(ours)], strict=True))
            return self.plot(shape, **dict(zip(theirs, values[len(ours) :], strict=True)))

        for each in inputs:
            each.change(fn=draw, inputs=inputs, outputs=[self._plot], **QUIET)
        both = [self._report, self._plot]
        self._refresh.click(fn=lambda *values: [self.front.last, draw(*values)], inputs=inputs, outputs=both, **QUIET)
        # what the page shows first is what the host's controls hold first
        self._plot.value = draw(*(getattr(each, "value", None) for each in inputs))
        self.presets.wire_host(self.controls, here)
        if self.count_tokens is not None:
            texts = [self.controls["negative"], *(here[part] for part in ("steps", "styles") if part in here)]
            parts = [part for part in ("steps", "styles") if part in here]

            def count(text: str, *values: Any) -> str:
                return self.tokens(text, **dict(zip(parts, values, strict=True)))

            self._count.click(fn=count, inputs=texts, outputs=[self._tokens], **QUIET)

    # -- what the events do ---

    def plot(
        self, shape: Mapping[str, Any], steps: Any = 20, sampling: Any = "Euler", scheduler: Any = None,
        cfg_scale: Any = None, denoising_strength: Any = None,
    ) -> str:  # fmt: skip
        """HTML of the schedule as it would act now. ``shape``: options by name."""
        try:
            settings = Settings.parse(shape)
        except SettingsError as error:
            return refused(error)
        windows = windows_of(settings)
        if not windows:
            return note("Every method is off.", kind="warning")
        grid = self.grid_of(str(sampling or ""), scheduler, max(int(steps or 1), 1), denoising_strength)
        if not grid.times:
            return note(Value(str(sampling)), "makes no step with so few. Allowed: more steps.", kind="error")
        resolved = {window.name: window.schedule.resolve(grid.times, grid.sigmas) for window in windows}
        scales = cfg_scales(settings, resolved, float(cfg_scale)) if cfg_scale else []
        text = schedule_html(resolved, scales, grid.exact, handles=NAG in resolved)
        for field in no_effect(settings, windows):
            value = Value(f"{getattr(settings, field):g}")
            text += note(FIELDS[field].label, value, "NAG changes nothing.", kind="warning")
        return text

    def ranges_of(self, unit: str) -> list[Any]:
        """The sliders of starts and ends reach as far as their unit does."""
        top = MAX_SIGMA if unit == "sigma" else 1.0
        return [gr.update(maximum=top) for _ in EDGES]

    def tokens(self, text: str, steps: Any = 20, styles: Any = None) -> str:
        """HTML of the number of tokens in the NAG negative and the room there is, as the host counts its own."""
        assert self.count_tokens is not None
        return self.count_tokens(text or "", max(int(steps or 1), 1), list(styles or []))
