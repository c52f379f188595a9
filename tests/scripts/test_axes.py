"""The axes of the X/Y/Z plot: one per option, a cell's value in the place of the panel's, nothing carried over."""

import importlib
import sys

import numpy as np
import pytest
from front_helpers import leftovers, script_of

from extras.nag import FIELDS, SettingsError
from extras.nag.settings import list_presets, load_preset
from extras.nag.ui.axes import add_axes, override


@pytest.fixture
def plot(engine, monkeypatch):
    """plot([("[NAG] Scale", "2, 8")], nag={...}) -> the stand-in script after its run."""
    from modules import scripts

    sys.modules.pop("plot_standin", None)
    module = importlib.import_module("plot_standin")
    data = scripts.ScriptClassData(module.Plot, module.__file__, "", module)
    monkeypatch.setattr(scripts, "scripts_data", [*scripts.scripts_data, data])
    add_axes()
    runner = engine.runner("txt2img")

    def run(axes, nag=None, **fields):
        script = module.Plot()
        script.axes = axes
        script.args_from = script.args_to = len(runner.inputs)
        monkeypatch.setattr(runner, "selectable_scripts", [script])
        args = engine.default_script_args("txt2img")
        args[0] = 1
        if nag is not None:
            args[script_of(engine).args_from] = nag
        fields = {
            "prompt": "a nerd", "steps": 4, "width": 64, "height": 64, "seed": 7, "cfg_scale": 1,
            "sampler_name": "Euler", "do_not_save_samples": True, "do_not_save_grid": True, **fields,
        }  # fmt: skip
        engine.txt2img(fields, args, is_api=True)
        return script

    run.module = module
    return run


def pixels(cell):
    return np.asarray(cell.images[0]).astype(int)


def test_an_axis_for_every_option_added_once(plot):
    labels = [option.label for option in plot.module.axis_options]
    assert labels[2:] == ["[NAG] Preset", *(f"[NAG] {field.label}" for field in FIELDS.values())]
    assert add_axes() == 1 and len(plot.module.axis_options) == len(labels)
    by_name = dict(zip(["preset", *FIELDS], plot.module.axis_options[2:], strict=True))
    for name, field in FIELDS.items():
        if field.type in ("choice", "bool"):
            assert by_name[name].choices() == [*field.choices] or by_name[name].choices() == ["True", "False"]
    assert by_name["preset"].choices() == list_presets()


def test_a_cell_is_the_picture_of_its_value(plot, draw):
    cells = plot([("[NAG] Scale", "2, 8")], {"negative": "glasses"}).cells
    for cell, scale in zip(cells, (2, 8), strict=True):
        single = draw({"negative": "glasses", "scale": scale})
        assert abs(pixels(cell) - single.pixels[0]).max() == 0
        assert f"NAG scale: {scale}," in cell.infotexts[0] and cell.infotexts[0] == single.texts[0]
    assert abs(pixels(cells[0]) - pixels(cells[1])).max() > 0


def test_two_axes_and_a_range(plot, draw):
    script = plot([("[NAG] Scale", "2-8 (+6)"), ("[NAG] NAG negative prompt", '"glasses, hat", tree')])
    assert len(script.cells) == 4
    last = draw({"negative": "tree", "scale": 8})
    assert abs(pixels(script.cells[3]) - last.pixels[0]).max() == 0
    assert 'NAG negative: "glasses, hat"' in script.cells[0].infotexts[0]


def test_an_axis_switches_on_and_off(plot, draw):
    off, on = plot([("[NAG] Enable NAG", "False, True")], {"enabled": False, "negative": "glasses", "scale": 8}).cells
    assert abs(pixels(off) - draw().pixels[0]).max() == 0 and "NAG" not in off.infotexts[0]
    assert abs(pixels(on) - draw({"negative": "glasses", "scale": 8}).pixels[0]).max() == 0
    (implied,) = plot([("[NAG] Scale", "8")], {"enabled": False, "negative": "glasses"}).cells
    assert abs(pixels(implied) - pixels(on)).max() == 0


def test_a_preset_is_what_its_button_sets(plot, draw):
    names = list_presets()[:2]
    cells = plot([("[NAG] Preset", ", ".join(names))], {"negative": "glasses", "scale": 11}).cells
    for cell, name in zip(cells, names, strict=True):
        single = draw({"negative": "glasses", **load_preset(name).settings})
        assert cell.infotexts[0] == single.texts[0]
    merged = override({"enabled": False, "tau": 4, "negative": "a"}, {"scale": 9.0, "preset": names[0]})
    assert merged["scale"] == 9.0 and merged["enabled"] and merged["negative"] == "a"
    assert merged["tau"] == load_preset(names[0]).settings.get("tau", FIELDS["tau"].default)


@pytest.mark.parametrize(
    ("axis", "values", "words"),
    [
        ("Scale", "3, 99", ["scale", "99", "1 to 20"]),
        ("Scale", "3, high", ["scale", "high", "1 to 20", "range"]),
        ("Scale", "3--", ["scale", "3--"]),
        ("Scale", "15-25", ["scale", "21", "1 to 20"]),
        ("Ramp steps", "1.5", ["ramp_steps", "1.5", "whole number"]),
        ("Unit", "noise, meters", ["unit", "meters", "noise | steps | sigma"]),
        ("Enable NAG", "perhaps", ["enabled", "perhaps", "true | false"]),
        ("Preset", "Nothing", ["preset", "Nothing"]),
    ],
)
def test_what_an_axis_cannot_take_is_named_before_the_first_cell(plot, axis, values, words):
    with pytest.raises(SettingsError) as error:
        plot([(f"[NAG] {axis}", values)], {"negative": "glasses"})
    assert all(word in str(error.value) for word in words), str(error.value)


def test_what_only_the_cell_can_know_is_told_in_it(plot, draw):
    """A window in sigma is possible, but not in this job's unit."""
    (cell,) = plot([("[NAG] Start", "9")], {"negative": "glasses"}).cells
    assert abs(pixels(cell) - draw().pixels[0]).max() == 0
    assert "NAG error: " in cell.infotexts[0] and "start: 9.0 is not possible" in cell.infotexts[0]
    inside = plot([("[NAG] Start", "9"), ("[NAG] Unit", "sigma")], {"negative": "glasses", "end": 0.5}).cells[0]
    assert "NAG guided steps" in inside.infotexts[0]


def test_nothing_of_a_cell_is_in_the_next(plot, draw, engine):
    script = plot([("[NAG] Layers", "d99, all"), ("[NAG] Enable NAG", "True, False")], {"negative": "glasses"})
    bad, good, off, also_off = (cell.infotexts[0] for cell in script.cells)
    assert "NAG error" in bad and "NAG error" not in good and "guided steps" in good
    assert "NAG" not in off and "NAG" not in also_off
    assert leftovers(engine) == 0
    assert draw().texts[0] == off


def test_the_grids_metadata_has_no_report_in_it(plot):
    script = plot([("[NAG] Scale", "2, 8")], {"negative": "glasses"})
    assert "NAG scale: 2" in script.grid and "NAG report" not in script.grid
    assert script.cells[0].extra_generation_params["NAG report"]["picture"]["calls"]
