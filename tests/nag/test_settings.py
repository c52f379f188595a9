"""One record of every option: ranges, messages, defaults, round trips; presets as contained files."""

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extras.nag.fields import GROUPS, WINDOWS
from extras.nag.settings import (
    FIELDS,
    Settings,
    SettingsError,
    delete_preset,
    list_presets,
    load_preset,
    save_preset,
)


def test_record_and_table_agree():
    assert [f.name for f in dataclasses.fields(Settings)] == list(FIELDS)
    assert Settings().to_dict() == {name: field.default for name, field in FIELDS.items()}
    assert Settings().changed() == {}


def test_infotext_keys_are_acceptable_to_every_host_and_unique():
    keys = [field.infotext_key for field in FIELDS.values()]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[\w \-/]{2,}", key) and key.startswith("NAG ") for key in keys)


def test_every_field_has_words_and_a_range():
    for field in FIELDS.values():
        assert field.label and field.help and field.allowed()
        if field.type in ("int", "float"):
            assert field.minimum < field.maximum and field.step > 0
            assert field.minimum <= field.default <= field.maximum
        if field.type == "choice":
            assert field.default in field.choices


VALUES = {
    "bool": lambda f: st.booleans(),
    "str": lambda f: st.text(max_size=40),
    "choice": lambda f: st.sampled_from(f.choices),
    "int": lambda f: st.integers(int(f.minimum), int(f.maximum)),
    "float": lambda f: st.floats(f.minimum, f.maximum),
}


@given(st.fixed_dictionaries({n: VALUES[f.type](f) for n, f in FIELDS.items()}))
def test_any_allowed_record_survives_json_and_its_own_differences(values):
    for window in WINDOWS:
        if values["unit"] == "sigma":
            values[f"{window}end"] = 0.0
        elif values[f"{window}end"] <= values[f"{window}start"]:
            values[f"{window}start"], values[f"{window}end"] = 0.0, 1.0
    settings = Settings.parse(values)
    assert Settings.parse(json.loads(json.dumps(settings.to_dict()))) == settings
    assert Settings.parse(settings.changed()) == settings
    as_text = {n: v if isinstance(v, str) else str(v) for n, v in settings.changed().items()}
    assert Settings.parse(as_text) == settings  # what comes back out of a picture's metadata is text


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("scale", 0.5, "number from 1 to 20"),
        ("scale", "much", "number from 1 to 20"),
        ("scale", None, "number from 1 to 20"),
        ("scale", True, "number from 1 to 20"),
        ("scale", float("nan"), "number from 1 to 20"),
        ("scale", float("inf"), "number from 1 to 20"),
        ("tau", 0.9, "number from 1 to 10"),
        ("alpha", 1.01, "number from 0 to 1"),
        ("start", -0.01, "number from 0 to 1"),
        ("end", 4, "number from 0 to 1"),
        ("ramp_steps", 1.5, "whole number from 0 to 100"),
        ("ramp_steps", 10**400, "whole number from 0 to 100"),
        ("unit", "seconds", "noise | steps | sigma"),
        ("unit", ["noise"], "noise | steps | sigma"),
        ("enabled", 1, "true | false"),
        ("negative", 7, "text of at most 10000 characters"),
        ("negative", "x" * 10_001, "text of at most 10000 characters"),
        ("hires", "third", "both | first | second"),
        ("scales", 3, "one of the fields enabled, negative, scale"),
    ],
)
def test_bad_values_name_field_value_and_what_is_allowed(field, value, allowed):
    with pytest.raises(SettingsError) as caught:
        Settings.parse({field: value})
    error = caught.value
    assert error.field == field and error.value is value and allowed in error.allowed
    assert field in str(error) and allowed in str(error) and len(str(error)) < 1500


def test_all_errors_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings.parse({"scale": 0, "nonsense": 1, "tau": 0.5})
    assert [e[0] for e in caught.value.errors] == ["scale", "nonsense", "tau"]


def test_end_before_start_is_an_error_of_end():
    for values in ({"start": 0.5, "end": 0.2}, {"start": 0.5, "end": 0.5}, {"start": 1}):
        with pytest.raises(SettingsError, match="above start") as caught:
            Settings.parse(values)
        assert caught.value.field == "end"


@pytest.mark.parametrize("window", WINDOWS)
def test_every_method_has_its_own_window(window):
    settings = Settings.parse({f"{window}start": 0.25, f"{window}end": 0.75, "ramp_steps": 3, "cooldown": 0.1})
    schedule = settings.schedule(window)
    assert (schedule.start, schedule.end, schedule.ramp_steps) == (0.25, 0.75, 3)
    assert schedule.cooldown == (0.0 if window else 0.1)
    with pytest.raises(SettingsError, match=rf"^{window}end: 0.2 .* above start"):
        Settings.parse({f"{window}start": 0.5, f"{window}end": 0.2})
    assert Settings.parse({"unit": "sigma", f"{window}start": 9, f"{window}end": 1}).schedule(window).start == 9


def test_every_option_is_in_a_group_of_the_panel():
    assert {field.group for field in FIELDS.values()} == set(GROUPS)


def test_sigma_windows_fall():
    assert Settings.parse({"unit": "sigma", "start": 14, "end": 4}).schedule().unit == "sigma"
    assert Settings.parse({"unit": "sigma", "end": 4}).end == 4
    with pytest.raises(SettingsError, match="below start"):
        Settings.parse({"unit": "sigma", "start": 2, "end": 4})
    with pytest.raises(SettingsError):
        Settings.parse({"unit": "sigma", "end": 4}).merged({"unit": "noise"})


def test_not_a_mapping_is_said():
    with pytest.raises(SettingsError, match="an object with the fields"):
        Settings.parse([1, 2])


def test_direct_construction_is_checked_too():
    with pytest.raises(SettingsError, match="alpha"):
        Settings(alpha=2)


def test_changed_and_merged():
    settings = Settings(negative="glasses", scale=5)
    assert settings.changed() == {"negative": "glasses", "scale": 5.0}
    assert settings.merged({"end": 0.5}).changed() == {"negative": "glasses", "scale": 5.0, "end": 0.5}


def test_schedule_has_the_window():
    schedule = Settings(start=0.17, end=0.5, ramp_steps=2, cooldown=0.1, cooldown_drop=0.3).schedule()
    assert (schedule.start, schedule.end, schedule.ramp_steps) == (0.17, 0.5, 2)
    assert (schedule.cooldown, schedule.cooldown_drop) == (0.1, 0.3)


# -- presets ---


def test_our_presets_are_valid_and_come_first(tmp_path):
    names = list_presets(tmp_path)
    assert {"Doodle student", "SDXL few-step", "SD1.5", "NAG Time"} <= set(names)
    for name in names:
        preset = load_preset(name, tmp_path)
        assert preset.builtin and preset.source and preset.note
        Settings.parse(preset.settings)
        assert set(preset.host) <= {"sampler", "scheduler", "steps", "cfg"}
    assert load_preset("NAG Time", tmp_path).settings["start"] == 0.17


def test_own_presets_are_saved_replaced_listed_and_deleted(tmp_path):
    save_preset("Mine 1", {"scale": 7}, note="näh", host={"steps": 4, "unknown": 1}, folder=tmp_path)
    save_preset("Mine 1", {"scale": 8}, note="näh", host={"steps": 4}, folder=tmp_path)
    preset = load_preset("Mine 1", tmp_path)
    assert (preset.settings, preset.note, preset.host, preset.builtin) == (
        {"scale": 8.0},
        "näh",
        {"steps": 4},
        False,
    )
    assert list_presets(tmp_path)[-1] == "Mine 1"
    delete_preset("Mine 1", tmp_path)
    assert "Mine 1" not in list_presets(tmp_path)
    (kept,) = tmp_path.iterdir()  # one press of a button must not lose work for good
    assert kept.name == "Mine 1.json.deleted" and json.loads(kept.read_text())["settings"] == {"scale": 8.0}


def test_own_presets_have_names_of_any_script(tmp_path):
    for name in ("眼鏡なし", "Без очков", "Größe+1", "e\u0301te\u0301"):
        save_preset(name, {"scale": 7}, folder=tmp_path)
        assert load_preset(name, tmp_path).settings == {"scale": 7.0}
    assert "\u00e9t\u00e9" in list_presets(tmp_path)  # one name, however its accents were typed
    with pytest.raises(SettingsError, match="1 to 60 letters"):
        save_preset("𠮷" * 60, {}, folder=tmp_path)  # more bytes than a file name holds


def test_nothing_is_replaced_unasked(tmp_path):
    save_preset("Mine", {"scale": 7}, folder=tmp_path)
    for name in ("Mine", "mine"):  # one file where the system ignores case
        with pytest.raises(SettingsError, match="choose it in the list"):
            save_preset(name, {"scale": 8}, folder=tmp_path, replace=False)
    assert load_preset("Mine", tmp_path).settings == {"scale": 7.0}
    save_preset("Other", {"scale": 8}, folder=tmp_path, replace=False)


@pytest.mark.parametrize(
    "name", ["../escape", "a/b", "a\\b", "", ".hidden", "x" * 61, "nul", "con.txt", "end.", "a\0b", None, 3]
)
def test_names_cannot_leave_the_folder(tmp_path, name):
    for act in (lambda: save_preset(name, {}, folder=tmp_path), lambda: delete_preset(name, tmp_path)):
        with pytest.raises(SettingsError, match="preset"):
            act()
    with pytest.raises(SettingsError, match="preset"):
        load_preset(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_ours_cannot_be_replaced_or_deleted(tmp_path):
    with pytest.raises(SettingsError):
        save_preset("SD1.5", {"scale": 2}, folder=tmp_path)
    with pytest.raises(SettingsError, match="no preset of the extension"):
        save_preset("nag time", {"scale": 2}, folder=tmp_path)
    with pytest.raises(SettingsError, match="own presets"):
        delete_preset("SD1.5", tmp_path)


def test_bad_settings_are_not_saved_and_bad_files_are_explained(tmp_path):
    with pytest.raises(SettingsError, match="tau"):
        save_preset("Bad", {"tau": 0}, folder=tmp_path)
    (tmp_path / "Broken.json").write_text("{")
    (tmp_path / "Empty.json").write_text("[]")
    (tmp_path / "Odd.json").write_text('{"settings": {"scale": 99}}')
    assert {"Broken", "Empty", "Odd"} <= set(list_presets(tmp_path))
    for name, word in (
        ("Broken", "readable JSON"),
        ("Empty", "JSON object"),
        ("Odd", "scale"),
        ("None", "one of"),
    ):
        with pytest.raises(SettingsError, match=word):
            load_preset(name, tmp_path)


def test_folder_of_own_presets_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("NAG_TIME_PRESETS", str(tmp_path / "deep" / "er"))
    save_preset("Here", {"end": 0.5})
    assert (tmp_path / "deep" / "er" / "Here.json").is_file() and "Here" in list_presets()
