"""The panel's presets: apply one, with the host's sampler settings where wanted; save and delete own ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from ..field import SettingsError
from ..fields import FIELDS, MAX_SIGMA
from ..settings import Preset, Settings, delete_preset, list_presets, load_preset, save_preset
from .controls import HIDDEN, QUIET, passing
from .markup import Value, note, refused
from .pasting import EDGES

NONE = "(choose)"
HOST_PARTS = {"sampler": "sampling", "scheduler": "scheduler", "steps": "steps", "cfg": "cfg_scale"}
"""Hint of a preset -> end of the elem_id of the host's control that it is for."""
_SET = [f for f in FIELDS if f != "enabled"]
_SAVED = [f for f in _SET if f != "negative"]


class Presets:
    """One per tab; ``controls`` are the panel's, by field.

    Beside each tab's list stands a hidden number that tells how new it is: the page's script renews lists that are
    older than another tab's, or as old as the page.
    """

    changes = 1  # of own presets since the server was started, in all tabs

    def build(self, name: Callable[[str], str]) -> None:
        """The list and what can be done with the chosen one."""
        names = [NONE, *list_presets()]
        self.chosen = passing(gr.Dropdown(names, value=NONE, label="Preset", elem_id=name("preset")))
        with gr.Row(elem_classes=["nag-time-row"]):
            self.apply = gr.Button("Apply preset", size="sm", elem_id=name("preset_apply"))
            self.apply_all = gr.Button("Apply with sampler settings", size="sm", elem_id=name("preset_apply_all"))
        self.note = gr.HTML("", elem_id=name("preset_note"))
        self.renew = gr.Button("Renew presets", elem_id=name("preset_renew"), elem_classes=[HIDDEN])
        self.age = gr.HTML(_age(0), elem_id=name("preset_age"), elem_classes=[HIDDEN])

    def build_own(self, name: Callable[[str], str]) -> None:
        """Saving and deleting."""
        self.name = passing(
            gr.Textbox(
                "",
                label="Save as own preset",
                info="Keeps all options but the negative prompt, and names the sampler settings they go with.",
                placeholder="Name",
                elem_id=name("preset_name"),
            )
        )
        with gr.Row(elem_classes=["nag-time-row"]):
            self.save = gr.Button("Save preset", size="sm", elem_id=name("preset_save"))
            self.delete = gr.Button("Delete chosen preset", size="sm", elem_id=name("preset_delete"))
        self.own_note = gr.HTML("", elem_id=name("preset_own_note"))

    def wire(self, controls: Mapping[str, Any]) -> None:
        """The events that need only our own controls."""
        every = [controls[f] for f in _SET]
        self.apply.click(fn=self.applied, inputs=[self.chosen], outputs=[self.note, *every], **QUIET)
        self.delete.click(fn=self.deleted, inputs=[self.chosen], outputs=[self.own_note, *self._list()], **QUIET)
        self.renew.click(fn=self.renewed, inputs=[self.chosen], outputs=self._list(), **QUIET)

    def wire_host(self, controls: Mapping[str, Any], host: Mapping[str, Any]) -> None:
        """The events that read or set controls of the host: ``host``, by the end of their elem_id."""
        ours, every = [controls[f] for f in _SAVED], [controls[f] for f in _SET]
        hints = {hint: host[part] for hint, part in HOST_PARTS.items() if part in host}
        theirs = list(hints.values())

        def applied(name: str) -> list[Any]:
            text, *rest = self.applied(name)
            more, *updates = self.host_updates(name, hints)
            return [text + more, *rest, *updates]

        def saved(name: str, chosen: str, *values: Any) -> list[Any]:
            told = {hint: _named(hints[hint], value) for hint, value in zip(hints, values[len(ours) :], strict=True)}
            return self.saved(name, chosen, values[: len(ours)], told)

        self.apply_all.click(fn=applied, inputs=[self.chosen], outputs=[self.note, *every, *theirs], **QUIET)
        self.save.click(
            fn=saved,
            inputs=[self.name, self.chosen, *ours, *theirs],
            outputs=[self.own_note, *self._list(), self.name],
            **QUIET,
        )

    # -- what the events do ---

    def applied(self, name: str | None) -> list[Any]:
        """[message, an update for each option but the switch]: what the preset sets; the others get their defaults,
        except the negative."""
        keep = [gr.update() for _ in _SET]
        if name in (None, NONE):
            return [note("Choose a preset first."), *keep]
        try:
            preset = load_preset(str(name))
        except SettingsError as error:
            return [refused(error), *keep]
        values: dict[str, Any] = {f: FIELDS[f].default for f in _SAVED} | preset.settings
        return [described(preset), *[_update(f, values) for f in _SET]]

    def host_updates(self, name: str | None, hints: Mapping[str, Any]) -> list[Any]:
        """[message, an update for each control of the host in ``hints``]: what the preset goes with."""
        keep = [gr.update() for _ in hints]
        if name in (None, NONE):
            return ["", *keep]
        try:
            wanted = load_preset(str(name)).host
        except SettingsError:
            return ["", *keep]  # applied() tells it
        if not wanted:
            return [note("This preset names no sampler settings."), *keep]
        fit = {hint: wanted[hint] for hint in hints if hint in wanted and _can_be(hints[hint], wanted[hint])}
        missed = [f"{hint} {value}" for hint, value in wanted.items() if hint not in fit]
        text = note("Not in this WebUI:", Value(", ".join(missed)), kind="warning") if missed else ""
        return [text, *[gr.update(value=fit[hint]) if hint in fit else gr.update() for hint in hints]]

    def saved(self, name: str, chosen: str | None, values: Sequence[Any], host: Mapping[str, Any]) -> list[Any]:
        """[message, the renewed list, its age, the name field]. An own preset of that name is replaced where it is the
        chosen one."""
        name, keep = (name or "").strip(), [gr.update()] * 3
        try:
            settings = Settings.parse(dict(zip(_SAVED, values, strict=True))).to_dict()
            kept = {f: settings[f] for f in _SAVED}
            hints = {hint: value for hint, value in host.items() if value is not None}
            save_preset(name, kept, host=hints, replace=name == chosen)
        except SettingsError as error:
            return [refused(error), *keep]
        except OSError as error:
            return [_failed(error), *keep]
        Presets.changes += 1
        return [note("Saved:", Value(name)), *_listed(value=name), gr.update(value="")]

    def deleted(self, name: str | None) -> list[Any]:
        """[message, the renewed list, its age]."""
        keep = [gr.update()] * 2
        if name in (None, NONE):
            return [note("Choose a preset first."), *keep]
        try:
            kept = delete_preset(str(name))
        except SettingsError as error:
            return [refused(error), *keep]
        except OSError as error:
            return [_failed(error), *keep]
        Presets.changes += 1
        return [note("Deleted; a copy is kept in", Value(kept.name)), *_listed(value=NONE)]

    def renewed(self, name: str | None) -> list[Any]:
        """[the list as it is now, its age]. What is chosen stays: it may be another by the time this arrives."""
        return _listed() if name in (NONE, *list_presets()) else _listed(value=NONE)

    def _list(self) -> list[Any]:
        return [self.chosen, self.age]


def described(preset: Preset) -> str:
    """What a preset is for, where its numbers come from, and the host settings it goes with."""
    text = note(preset.note if preset.builtin else Value(preset.note)) if preset.note else ""
    text += note("Source:", Value(preset.source)) if preset.source else ""
    hints = {hint: f"{value:g}" if isinstance(value, float) else value for hint, value in preset.host.items()}
    host = ", ".join(f"{hint} {value}" for hint, value in hints.items())
    return text + (note("Goes with:", Value(host)) if host else "")


def _update(field: str, values: Mapping[str, Any]) -> Any:
    """Sets a control, the ends of windows with the range that their unit has."""
    if field not in values:
        return gr.update()
    if field in EDGES:
        return gr.update(value=values[field], maximum=MAX_SIGMA if values["unit"] == "sigma" else 1.0)
    return gr.update(value=values[field])


def _listed(**more: Any) -> list[Any]:
    """[the list of presets as it is now, its age]."""
    return [gr.update(choices=[NONE, *list_presets()], **more), _age(Presets.changes)]


def _age(number: int) -> str:
    return f'<i data-nag-time-age="{number}"></i>'


def _failed(error: OSError) -> str:
    return note("The file could not be written:", Value(str(error)), kind="error")


def _named(component: Any, value: Any) -> Any:
    """What is chosen; a list of SD.Next's gives its place."""
    if getattr(component, "type", None) != "index" or not isinstance(value, int):
        return value
    choice = component.choices[value]
    return choice[-1] if isinstance(choice, (tuple, list)) else choice


def _can_be(component: Any, value: Any) -> bool:
    """A slider of the host takes what lies in its range, a list what is in it."""
    choices = getattr(component, "choices", None)
    if choices is not None:
        return value in [c[-1] if isinstance(c, (tuple, list)) else c for c in choices]
    low, high = getattr(component, "minimum", None), getattr(component, "maximum", None)
    if not isinstance(value, (int, float)):
        return False
    return (low is None or low <= value) and (high is None or value <= high)
