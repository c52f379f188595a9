"""What the panel's parts answer: presets, layers, tokens. The clicks are in tests/gradios."""

import gradio as gr
import pytest
from front_helpers import script_of

from extras.nag.fields import FIELDS
from extras.nag.layers import find_layers
from extras.nag.settings import load_preset, save_preset

SET = [name for name in FIELDS if name != "enabled"]


@pytest.fixture
def presets(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("NAG_TIME_PRESETS", str(tmp_path))
    return script_of(engine).panel.presets


def updates(answer):
    """Field -> update, of what applying a preset answers."""
    return dict(zip(SET, answer[1:], strict=True))


def test_a_preset_that_sets_the_negative_sets_it(presets):
    save_preset("With words", {"negative": "hat", "scale": 5})
    assert updates(presets.applied("With words"))["negative"]["value"] == "hat"
    assert "value" not in updates(presets.applied("SD1.5"))["negative"]


def test_a_preset_brings_the_range_of_its_unit(presets):
    save_preset("In sigma", {"unit": "sigma", "start": 9, "end": 0.5})
    got = updates(presets.applied("In sigma"))
    assert (got["start"]["value"], got["start"]["maximum"], got["tpg_end"]["maximum"]) == (9, 1000, 1000)
    assert updates(presets.applied("SD1.5"))["start"]["maximum"] == 1


def test_sampler_settings_are_set_where_the_host_has_them(presets):
    save_preset("Goes far", {}, host={"sampler": "Euler", "scheduler": "Nowhere", "steps": 4, "cfg": 99})
    with gr.Blocks():
        hints = {
            "sampler": gr.Dropdown(["Euler", "LCM"]),
            "scheduler": gr.Dropdown(["Automatic"]),
            "steps": gr.Slider(1, 150, value=20),
            "cfg": gr.Slider(1, 30, value=7),
        }
    text, *answer = presets.host_updates("Goes far", hints)
    assert [update.get("value") for update in answer] == ["Euler", None, 4, None]
    assert "scheduler Nowhere, cfg 99" in text
    assert "names no sampler settings" in presets.host_updates("SD1.5", {})[0]


def test_saving_keeps_every_option_but_the_words(presets, tmp_path):
    names = [name for name in SET if name != "negative"]
    values = [{"scale": 7.5, "layers": "d0-d1"}.get(name, FIELDS[name].default) for name in names]
    presets.saved("Mine", None, values, {"steps": 8, "sampler": None})
    saved = load_preset("Mine", tmp_path)
    assert set(saved.settings) == set(names) and saved.host == {"steps": 8}
    assert (saved.settings["scale"], saved.settings["layers"]) == (7.5, "d0-d1")
    bad = [99 if name == "scale" else FIELDS[name].default for name in names]
    assert "1 … 20" in presets.saved("Bad", None, bad, {})[0]
    assert not (tmp_path / "Bad.json").exists()


def test_the_layers_are_those_of_the_loaded_model(engine):
    table = script_of(engine).panel.layers
    said, shown = table.listed("all", "")
    layers = find_layers(engine.model.model)
    cross = sum(layer.kind == "cross" for layer in layers)
    assert f"{cross} / {cross}" in said and shown.count("<tr") == len(layers) + 1
    for layer in layers:
        assert f"<td>{layer.notation}</td>" in shown and layer.name in shown
    said, shown = table.listed("d0=0.5", "cross")
    assert f"1 / {cross}" in said and shown.count("<tr") == cross + 1 and "<td>0.5</td>" in shown
    assert "does not exist" in table.listed("d99", "")[0]
    hostile = "".join(table.listed("<b>x</b>", "<i>"))
    assert "<b>x" not in hostile and "<i>" not in hostile and "&lt;b&gt;x" in hostile


def test_no_layers_while_no_model_is_loaded(engine, monkeypatch):
    from extras.nag.hosts.webui import loaded

    for nothing in (None, object()):  # Forge has an object of no use in place of none
        monkeypatch.setattr(loaded, "loaded_model", lambda nothing=nothing: nothing)
        assert "no model is loaded yet" in script_of(engine).panel.layers.listed("all", "")[0]


def test_tokens_are_counted_as_the_host_counts_its_own(engine):
    from modules import ui

    panel = script_of(engine).panel
    for text in ("", "glasses", "(glasses:1.3), hat", "[hat:crown:0.5]", "word " * 90, "((half typed"):
        assert panel.tokens(text, 8, []) == ui.update_negative_prompt_token_counter(text, 8, [])
    assert panel.tokens(None, None, None) == panel.tokens("")


def test_a_counter_that_fails_is_no_error_box(engine, monkeypatch):
    from modules import ui

    def broken(*args):
        raise RuntimeError("no model")

    monkeypatch.setattr(ui, "update_negative_prompt_token_counter", broken)
    assert "?/?" in script_of(engine).panel.tokens("glasses")
