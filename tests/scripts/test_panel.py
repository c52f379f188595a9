"""The panel and the settings record cannot disagree; the plot is the gate."""

import re

import pytest
from front_helpers import script_of

from extras.nag import FIELDS, Settings
from extras.nag.settings import list_presets, load_preset
from extras.nag.ui import panel_presets

SHAPE = ("start", "end", "unit", "ramp_steps", "cooldown", "cooldown_drop")


@pytest.fixture(params=["txt2img", "img2img"])
def tab(request):
    return request.param


def test_a_control_for_every_option_in_order(engine, tab):
    controls = script_of(engine, tab).controls
    assert len(controls) == len(FIELDS)
    for control, field in zip(controls, FIELDS.values(), strict=True):
        assert control.value == field.default and type(control.value) is type(field.default)
        assert control.elem_id.startswith(f"nag_time_{tab}_{field.name}")
        if field.name != "enabled":
            assert control.label == field.label
        if field.type in ("int", "float"):
            assert (control.minimum, control.maximum, control.step) == (field.minimum, field.maximum, field.step)
        if field.type == "choice":
            assert [value for _, value in control.choices] == list(field.choices)
    assert "prompt" in controls[1].elem_classes


def test_the_panel_at_rest_is_the_default_record(engine, tab):
    values = [control.value for control in script_of(engine, tab).controls]
    assert Settings.parse(dict(zip(FIELDS, values, strict=True))) == Settings()


def test_paste_fields_cover_every_option(engine, tab):
    script = script_of(engine, tab)
    assert len(script.infotext_fields) == len(FIELDS)
    assert script.paste_field_names == [field.infotext_key for field in FIELDS.values()]


def test_a_pasted_sigma_brings_its_range(engine):
    """Else a slider that still ends at 1 would refuse it."""
    panel = script_of(engine).panel
    readers = dict(zip(FIELDS, [read for _, read in panel.paste_fields()[0]], strict=True))
    pasted = {"NAG enabled": "True", "NAG unit": "sigma", "NAG start": "9", "NAG end": "0.5"}
    update = readers["start"](pasted)
    assert (update["value"], update["maximum"]) == (9.0, 1000.0)
    assert readers["start"]({"NAG enabled": "True", "NAG start": "0.5"}) == 0.5


def test_ui_may_be_called_again(engine, tab):
    import gradio as gr

    script = script_of(engine, tab)
    for _ in range(3):
        with gr.Blocks():
            assert len(script.ui(tab == "img2img")) == len(FIELDS)


@pytest.mark.parametrize("name", list_presets())
def test_presets_set_what_they_say(engine, name):
    updates = script_of(engine).panel.presets.applied(name)
    preset, fields = load_preset(name), [f for f in FIELDS if f != "enabled"]
    assert len(updates) == 1 + len(fields)
    got = {f: update.get("value") for f, update in zip(fields, updates[1:], strict=True) if "value" in update}
    assert "negative" not in got  # the user's words stay
    assert got == {f: preset.settings.get(f, FIELDS[f].default) for f in got}
    assert preset.source.split()[0] in updates[0]


def test_an_unknown_preset_is_said(engine):
    presets = script_of(engine).panel.presets
    assert "Doodle student" in presets.applied("Nothing")[0]
    assert "letters, digits" in presets.applied("../../etc")[0]
    assert "Choose a preset" in presets.applied("(choose)")[0]


def bars(html):
    """The kind of each step's bar, of the first method."""
    return re.findall(r'class="nag-time-(guided|idle|cooldown)"', html.partition("</g>")[0])


def window(start, end, unit="noise", ramp_steps=0, cooldown=0, cooldown_drop=0.2):
    return dict(zip(SHAPE, (start, end, unit, ramp_steps, cooldown, cooldown_drop), strict=True))


def test_the_plot_shows_the_steps_that_run(engine, draw):
    plot = script_of(engine).panel.plot
    for start, end, unit in ((0, 1, "noise"), (0.2, 0.6, "noise"), (0.5, 1, "steps"), (5, 0.5, "sigma")):
        shown = bars(plot(window(start, end, unit), steps=4, sampling="Euler", scheduler="Automatic"))
        ran = draw({"negative": "glasses", "start": start, "end": end, "unit": unit}, steps=4).report
        assert [i + 1 for i, kind in enumerate(shown) if kind == "guided"] == ran["guided_steps"]


SAMPLERS = ["Euler", "Euler a", "Heun", "DPM++ 2M", "DPM++ SDE", "DPM2", "LCM", "DDIM"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("fixed", [False, True])
def test_the_plot_of_img2img_shows_the_steps_that_run(engine, draw, options, sampler, fixed):
    """There a denoising strength cuts the schedule off in front."""
    from PIL import Image

    options(img2img_fix_steps=fixed)
    shape = window(0.2, 0.7)
    html = script_of(engine, "img2img").panel.plot(shape, steps=6, sampling=sampler, denoising_strength=0.6)
    picture = [Image.new("RGB", (64, 64), "teal")]
    fields = {"steps": 6, "sampler_name": sampler, "denoising_strength": 0.6, "init_images": picture}
    ran = draw({"negative": "glasses", **shape}, **fields).report
    assert [i + 1 for i, kind in enumerate(bars(html)) if kind == "guided"] == ran["guided_steps"]
    assert len(bars(html)) == ran["steps"]


def test_the_plot_has_every_method_that_acts(engine):
    plot = script_of(engine).panel.plot
    html = plot({"tpg_scale": 2, "tpg_end": 0.5, "pag_scale": 1}, steps=4, cfg_scale=5)
    assert [html.count(f">{name}<") for name in ("NAG", "TPG", "PAG", "NAG-PAG")] == [2, 2, 2, 0]  # drawn and told
    assert "Every method is off" in plot({"nag": False})
    assert ">NAG<" not in plot({"nag": False, "tpg_scale": 2, "pag_scale": 1})
    assert "NAG changes nothing" in plot({"scale": 1}) and "NAG changes nothing" not in plot({})


def test_the_plot_knows_the_methods_that_the_library_runs(engine):
    from extras.nag.methods import parts_of
    from extras.nag.windows import windows_of

    on = {"nag_pag_scale": 3, "tpg_scale": 2, "pag_scale": 1, "three_way_scale": 2}
    for left in on:
        for nag in (True, False):
            settings = Settings.parse({name: v for name, v in on.items() if name != left} | {"nag": nag})
            parts = parts_of(settings, engine.model.model, strict=True)
            run = {part.method.lower(): part.schedule for part in parts}
            assert {w.name.lower(): w.schedule for w in windows_of(settings)} == run


def test_the_plot_of_cfg_is_the_cfg_that_is_applied(engine, monkeypatch):
    """Cooldown and TPG alone: what Guidance says at each step of the same grid."""
    from extras.nag.guidance import Guidance

    shape = window(0.3, 0.6, cooldown=0.3, cooldown_drop=0.4) | {"tpg_scale": 2, "tpg_mode": "alone", "tpg_end": 0.2}
    html = script_of(engine).panel.plot(shape, steps=10, cfg_scale=7)
    told = [float(x) for x in re.findall(r", CFG ([\d.]+)</title>", html.partition("</g>")[0])]
    guidance = Guidance(Settings.parse(shape), engine.model.model)
    grid = script_of(engine).panel.grid_of("Euler", None, 10)
    guidance.begin(grid.times, grid.sigmas)
    applied = []
    for i, t in enumerate(grid.times):
        guidance.step_at(t, key=i)
        applied.append(guidance.cfg_scale(7.0))
    guidance.close()
    assert told == pytest.approx(applied) and set(applied) == {7.0, 1.0, 4.2}


def test_the_plot_of_every_sampler(engine):
    for sampler in engine.sampler_names():
        assert "guided" in bars(script_of(engine).panel.plot({}, steps=5, sampling=sampler))


def places(html):
    """Handle -> the step before which it stands, from 0."""
    marks = re.findall(r'data-nag-time-handle="(\w+)"[^>]*aria-valuenow="(\d+)"', html)
    return {kind: int(at) for kind, at in marks}


def test_the_handles_stand_around_the_steps_that_are_guided(engine):
    plot = script_of(engine).panel.plot
    assert places(plot(window(0.3, 0.8, ramp_steps=3), steps=8)) == {"start": 3, "ramp_steps": 5, "end": 6}
    assert places(plot({}, steps=4)) == {"start": 0, "ramp_steps": 0, "end": 4}
    assert places(plot(window(5, 0.5, "sigma"), steps=8))["start"] > 0
    assert not places(plot(window(0.9, 0.95), steps=4)), "nothing is guided"
    assert not places(plot({"nag": False, "tpg_scale": 3}, steps=4)), "another method's window"


@pytest.mark.parametrize("unit", ["noise", "steps", "sigma"])
def test_a_handle_sets_what_the_sampler_then_does(engine, draw, unit):
    html = script_of(engine).panel.plot(window(0, 0 if unit == "sigma" else 1, unit), steps=6, sampling="Euler")
    edges = [float(edge) for edge in re.search(r'data-nag-time-edges="([^"]*)"', html)[1].split()]
    report = draw({"negative": "glasses", "unit": unit, "start": edges[2], "end": edges[5]}, steps=6).report
    assert report["guided_steps"] == [3, 4, 5]


def test_the_plot_says_what_is_wrong(engine):
    plot = script_of(engine).panel.plot
    assert "must come after the start" in plot(window(0.5, 0.2))
    assert "No step is guided" in plot(window(0.9, 0.95), steps=4)
    assert "cooldown" in bars(plot(window(0, 0.3, cooldown=0.5), steps=8))
    hostile = plot(window("<script>", 1))
    assert "&lt;script" in hostile and "<script" not in hostile


def test_sliders_reach_as_far_as_the_unit(engine):
    ranges_of = script_of(engine).panel.ranges_of
    assert {u["maximum"] for u in ranges_of("sigma")} == {1000.0}
    assert {u["maximum"] for u in ranges_of("noise")} == {1.0}
    assert len(ranges_of("noise")) == sum(name.endswith(("start", "end")) for name in FIELDS)


@pytest.mark.parametrize("named", [True, False], ids=["tabname", "none"])
def test_the_plot_follows_the_hosts_sliders(engine, monkeypatch, named):
    """In a page that has the host's steps slider, a change of it draws the plot anew. SD.Next names no tab."""
    import gradio as gr

    script = script_of(engine)
    if not named:
        monkeypatch.setattr(script, "tabname", None)
    with gr.Blocks() as page:
        steps = gr.Slider(1, 150, value=4, step=1)
        script.after_component(steps, elem_id="txt2img_steps")
        script.ui(False)
        script.after_component(gr.Gallery(), elem_id="txt2img_gallery")
    assert any(getattr(steps, "_id", None) in [t[0] for t in fn.targets] for fn in page.fns.values())


def test_a_list_that_gives_places_is_saved_by_name():
    """As SD.Next's of samplers does."""
    import gradio as gr

    named = panel_presets._named
    places = gr.Dropdown(["Default", "Euler"], type="index")
    assert named(places, 1) == "Euler" and named(places, None) is None
    assert named(gr.Dropdown(["Default", "Euler"]), "Euler") == "Euler" and named(gr.Slider(1, 50), 7) == 7
