"""The panel's presets: apply one, with the host's sampler settings where wanted; save and delete own ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from ..fields import FIELDS, SettingsError
from ..settings import Preset, Settings, delete_preset, list_presets, load_preset, save_preset
from .controls import HIDDEN, QUIET, passing
from .markup import Value, note, refused

NONE = "(choose)"
HOST_PARTS = {"sampler": "sampling", "scheduler": "scheduler", "steps": "steps", "cfg": "cfg_scale"}
"""Hint of a preset -> end of the elem_id of the host's control that it is for."""
_SET = [f for f in FIELDS if f != "enabled"]
_SAVED = [f for f in _SET if f != "negative"]


class Presets:
    """One per tab; ``controls`` are the panel's, by field."""

    def __init__(self) -> None:
        self.changes = 0  # of the list of own presets; the page's script sees it and renews the list of every tab

    def build(self, name: Callable[[str], str]) -> None:
        """The list and what can be done with the chosen one."""
        names = [NONE, *list_presets()]
        self.chosen = passing(gr.Dropdown(names, value=NONE, label="Preset", elem_id=name("preset")))
        with gr.Row(elem_classes=["nag-time-row"]):
            self.apply = gr.Button("Apply preset", elem_id=name("preset_apply"))
            self.apply_all = gr.Button("Apply with sampler settings", elem_id=name("preset_apply_all"))
        self.note = gr.HTML("", elem_id=name("preset_note"))

    def build_own(self, name: Callable[[str], str]) -> None:
        """Saving and deleting."""
        with gr.Row(elem_classes=["nag-time-row"]):
            self.name = passing(
                gr.Textbox(
                    "",
                    label="Save as own preset",
                    info="Keeps all options but the negative prompt, and names the sampler settings they go with.",
                    placeholder="Name",
                    elem_id=name("preset_name"),
                )
            )
            self.save = gr.Button("Save preset", elem_id=name("preset_save"))
            self.delete = gr.Button("Delete chosen preset", elem_id=name("preset_delete"))
        self.own_note = gr.HTML("", elem_id=name("preset_own_note"))
        self.renew = gr.Button("Renew presets", elem_id=name("preset_renew"), elem_classes=[HIDDEN])

    def wire(self, controls: Mapping[str, Any]) -> None:
        """The events that need only our own controls."""
        every = [controls[f] for f in _SET]
        self.apply.click(fn=self.applied, inputs=[self.chosen], outputs=[self.note, *every], **QUIET)
        self.delete.click(fn=self.deleted, inputs=[self.chosen], outputs=[self.own_note, self.chosen], **QUIET)
        self.renew.click(fn=self.renewed, inputs=[self.chosen], outputs=[self.chosen], **QUIET)

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
            told = dict(zip(hints, values[len(ours) :], strict=True))
            return self.saved(name, chosen, values[: len(ours)], told)

        self.apply_all.click(fn=applied, inputs=[self.chosen], outputs=[self.note, *every, *theirs], **QUIET)
        self.save.click(
            fn=saved,
            inputs=[self.name, self.chosen, *ours, *theirs],
            outputs=[self.own_note, self.chosen, self.name],
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
        return [described(preset), *[gr.update(value=values[f]) if f in values else gr.update() for f in _SET]]

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
        """[message, the renewed list, the name field]. An own preset of that name is replaced where it is the chosen
        one."""
        name = (name or "").strip()
        try:
            settings = Settings.parse(dict(zip(_SAVED, values, strict=True))).to_dict()
            kept = {f: settings[f] for f in _SAVED}
            hints = {hint: value for hint, value in host.items() if value is not None}
            save_preset(name, kept, host=hints, replace=name == chosen)
        except SettingsError as error:
            return [refused(error), gr.update(), gr.update()]
        except OSError as error:
            return [_failed(error), gr.update(), gr.update()]
        return [self._changed("Saved:", name), _listed(name), gr.update(value="")]

    def deleted(self, name: str | None) -> list[Any]:
        """[message, the renewed list]."""
        if name in (None, NONE):
            return [note("Choose a preset first."), gr.update()]
        try:
            kept = delete_preset(str(name))
        except SettingsError as error:
            return [refused(error), gr.update()]
        except OSError as error:
            return [_failed(error), gr.update()]
        return [self._changed("Deleted; a copy is kept in", kept.name), _listed(NONE)]

    def renewed(self, name: str | None) -> Any:
        """The list as it is now, e.g. after a change in the other tab."""
        return _listed(name if name in list_presets() else NONE)

    def _changed(self, phrase: str, name: str) -> str:
        self.changes += 1
        return f'<div data-nag-time-presets="{self.changes}">{note(phrase, Value(name))}</div>'


def described(preset: Preset) -> str:
    """What a preset is for, where its numbers come from, and the host settings it goes with."""
    parts: list[str] = [preset.note if preset.builtin else Value(preset.note)] if preset.note else []
    parts += ["Source:", Value(preset.source)] if preset.source else []
    if preset.host:
        parts += ["Goes with:", Value(", ".join(f"{hint} {value}" for hint, value in preset.host.items()))]
    return note(*parts)


def _listed(chosen: str | None) -> Any:
    return gr.update(choices=[NONE, *list_presets()], value=chosen)


def _failed(error: OSError) -> str:
    return note("The file could not be written:", Value(str(error)), kind="error")


def _can_be(component: Any, value: Any) -> bool:
    """A slider of the host takes what lies in its range, a list what is in it."""
    choices = getattr(component, "choices", None)
    if choices is not None:
        return value in [c[-1] if isinstance(c, (tuple, list)) else c for c in choices]
    low, high = getattr(component, "minimum", None), getattr(component, "maximum", None)
    if not isinstance(value, (int, float)):
        return False
    return (low is None or low <= value) and (high is None or value <= high)
