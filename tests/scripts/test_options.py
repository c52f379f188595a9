"""Our page in the host's Settings."""

import pytest
from front_helpers import script_of

from extras.nag import FIELDS
from extras.nag.settings import list_presets, load_preset
from extras.nag.ui import options as page

GLASSES = {"negative": "glasses", "scale": 8}


def test_every_option_is_declared_with_words_and_a_value(engine):
    for key, default in page.DEFAULTS.items():
        info = engine.opts.data_labels[key]
        assert info.section == page.SECTION and info.label and "info" in info.comment_after
        assert engine.opts.data[key] == default == info.default
    assert engine.opts.data_labels[page.PRESET].component_args()["choices"] == [page.NO_PRESET, *list_presets()]


def test_the_line_under_the_picture_but_never_without_errors(draw, options):
    assert "mean change" in draw(GLASSES).comments
    options(**{page.TELL: False})
    assert draw(GLASSES).comments == ""
    assert "scale" in draw({"scale": 99}).comments
    assert "No step" in draw({**GLASSES, "start": 0.9, "end": 0.95}).comments
    assert draw(GLASSES).report["calls"]  # the API's answer is another matter


def test_the_report_in_the_metadata(draw, options):
    options(**{page.REPORT: False})
    assert "NAG scale: 8" in draw(GLASSES).texts[0] and "guided steps" not in draw(GLASSES).texts[0]
    assert "NAG error" in draw({"scale": 99}).texts[0]
    assert "NAG warning" in draw({**GLASSES, "start": 0.9, "end": 0.95}).texts[0]


def test_one_requests_override_does_not_leak(draw, engine):
    assert draw(GLASSES, override_settings={page.TELL: False}).comments == ""
    assert "mean change" in draw(GLASSES).comments
    assert engine.opts.data[page.TELL] is True


def test_a_host_without_them_has_the_defaults(draw, engine, options, monkeypatch):
    for key in page.DEFAULTS:
        engine.opts.data.pop(key)
        monkeypatch.delitem(engine.opts.data_labels, key)
    assert "mean change" in draw(GLASSES).comments and page.panel_defaults() == {}
    engine.opts.data[page.TELL] = "no"  # a hand in config.json
    assert page.get(page.TELL) is True


@pytest.mark.parametrize("name", list_presets())
def test_the_panel_starts_with_a_preset(engine, options, name):
    import gradio as gr

    options(**{page.PRESET: name})
    script, sets = script_of(engine), load_preset(name).settings
    with gr.Blocks():
        controls = dict(zip(FIELDS, script.ui(False), strict=True))
    for field, control in controls.items():
        own = field not in ("enabled", "negative")
        assert control.value == (sets.get(field, FIELDS[field].default) if own else FIELDS[field].default)
        assert not own or control.do_not_save_to_config  # else the host's file of first values goes before it
    with gr.Blocks():
        options(**{page.PRESET: "Nothing"})
        script.ui(False)
    assert [c.value for c in script.panel.controls.values()] == [f.default for f in FIELDS.values()]
