"""Our page in the host's Settings: what holds for every run. What belongs to a single run is in the panel."""

from __future__ import annotations

import sys
from typing import Any

from ..field import SettingsError
from ..fields import FIELDS
from ..presetbook import list_presets, load_preset

SECTION = ("nag_time", "NAG Time")
NO_PRESET = "(none)"
PRESET, TELL, REPORT, SAVE_MAP = "nag_time_preset", "nag_time_tell", "nag_time_report", "nag_time_save_map"
DEFAULTS: dict[str, Any] = {PRESET: NO_PRESET, TELL: True, REPORT: True, SAVE_MAP: False}


def add_options() -> None:
    """Declare them; hosts call it before they build their Settings page. Each gets a value at once, so that a request
    which overrides one gives it back afterwards."""
    import gradio as gr

    from modules import shared

    texts = {
        PRESET: "Preset with which the panel starts",
        TELL: "Say under each picture what NAG did",
        REPORT: "Write the guided steps into the picture's metadata",
        SAVE_MAP: "Save the map of where it acted beside the picture",
    }
    notes = {
        PRESET: "own presets too; takes effect with Reload UI",
        TELL: "errors and warnings are always said",
        REPORT: "the settings of NAG, errors and warnings always are",
        SAVE_MAP: "where the panel asks for the map",
    }
    for key, label in texts.items():
        kind: tuple[Any, Any] = (gr.Checkbox, {"interactive": True})
        if key == PRESET:
            kind = (gr.Dropdown, lambda: {"choices": [NO_PRESET, *list_presets()]})
        option = shared.OptionInfo(DEFAULTS[key], label, *kind, section=SECTION)
        shared.opts.add_option(key, option.info(notes[key]))


def get(key: str) -> Any:
    """The value of an option of ours; its default where the host has not declared it (no page, no settings)."""
    from modules import shared

    value = getattr(shared.opts, key, None)
    return value if isinstance(value, type(DEFAULTS[key])) else DEFAULTS[key]


def panel_defaults() -> dict[str, Any]:
    """What the panel's controls hold first, by field; nothing where no preset is chosen. The negative stays the user's,
    the switch off."""
    name = get(PRESET)
    if name == NO_PRESET:
        return {}
    try:
        chosen = load_preset(name).settings
    except SettingsError as error:
        print(f"[NAG Time] Settings, {PRESET}: {error}", file=sys.stderr)
        return {}
    return {f: chosen.get(f, field.default) for f, field in FIELDS.items() if f not in ("enabled", "negative")}
