"""The door itself: messages of bad input, infotext out and in, the report for the panel."""

import pytest
from front_helpers import script_of

from extras.nag import FIELDS, Settings
from extras.nag.ui import infotext

CHANGED = {
    "enabled": True, "negative": 'glasses, "red", (hat:1.2)\nand 50%', "scale": 4.5, "tau": 3.0, "alpha": 0.375,
    "start": 0.17, "end": 0.5, "unit": "steps", "ramp_steps": 2, "cooldown": 0.25, "cooldown_drop": 0.4,
    "layers": "d0-d2,!m0", "empty_negative": "skip", "hires": "second", "skip_uncond": True,
}  # fmt: skip
TEXTS = {"heads": "0,2-3", "layers": "d0=0.5,u1", "checkpoint": "beta"}


def changed(name, field):
    """A value of an option of one of the other methods that is not its default."""
    if field.type in ("bool", "choice"):
        return (not field.default) if field.type == "bool" else field.choices[-1]
    if field.type == "str":
        return TEXTS[name.rpartition("_")[2]]
    return {"start": 0.25, "end": 0.75, "steps": 1}.get(name.rpartition("_")[2], field.maximum / 2)


NOT_BESIDE = {"handoff_lora": ""}  # cannot be together with a hand-off checkpoint: see test_handoff_lora
CHANGED |= {name: changed(name, field) for name, field in FIELDS.items() if name not in CHANGED | NOT_BESIDE}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"negative": "glasses", "scal": 3}, ["scal", "one of the fields"]),
        ({"scale": 500}, ["scale", "500", "1 to 20"]),
        ({"start": 0.6, "end": 0.3}, ["end", "0.3", "above start"]),
        ({"negative": "x" * 20_000}, ["negative", "10000"]),
        ({"layers": "d99"}, ["layers", "d99", "u0"]),
        ("yes", ["enabled", "yes", "true | false"]),
    ],
)
def test_bad_input_is_named_and_nothing_is_guided(draw, engine, bad, words):
    hurt = draw(bad)
    assert hurt.same(draw())
    draw(bad)
    for place in (hurt.comments, hurt.texts[0], script_of(engine).front.last):
        assert all(word in place for word in words), place
    assert "NAG error" in hurt.texts[0] and "guided steps" not in hurt.texts[0]


@pytest.mark.parametrize("text", ["(glasses", "glasses)", "[hat", "a ] b", "((a)"])
def test_unbalanced_brackets_are_told_and_taken_as_the_host_takes_them(draw, text):
    guided = draw({"negative": text, "scale": 8})
    assert guided.report["calls"] and "allowed: pairs ( ) and [ ]" in guided.comments


@pytest.mark.parametrize("text", ["(a:1.2) [b] \\( \\)", "[a:b:.5]", "", "plain"])
def test_balanced_brackets_are_not(text):
    from extras.nag.hosts.webui.negative import unbalanced

    assert unbalanced(text) == ""


def test_every_changed_setting_comes_back(draw, engine):
    from modules import infotext_utils

    text = draw(CHANGED, cfg_scale=7).texts[0]
    params = infotext_utils.parse_generation_parameters(text)
    read = {name: infotext.Reader(name)(params) for name in FIELDS}
    assert read == CHANGED | NOT_BESIDE
    assert Settings.parse(read).to_dict() == CHANGED | NOT_BESIDE


def test_only_what_differs_is_written(draw):
    keys = [part.split(":")[0].strip() for part in draw({"negative": "hat"}).texts[0].split("\n")[-1].split(",")]
    assert [k for k in keys if k.startswith("NAG")] == ["NAG enabled", "NAG negative", "NAG guided steps"]
    assert "NAG" not in draw().texts[0]


def test_a_picture_without_nag_switches_it_off_and_leaves_the_rest():
    assert infotext.Reader("enabled")({"Steps": "4"}) is False
    assert infotext.Reader("scale")({"Steps": "4"}) is None
    assert infotext.Reader("scale")({"NAG enabled": "True"}) == FIELDS["scale"].default
    assert infotext.Reader("scale")({"NAG enabled": "True", "NAG scale": "900"}) is None


def test_keys_are_what_every_host_accepts():
    for field in FIELDS.values():
        assert all(c.isalnum() or c == " " for c in field.infotext_key) and field.infotext_key.startswith("NAG ")


def test_the_report_for_the_panel(draw, engine):
    front = script_of(engine).front
    draw({"negative": "<b>glasses", "scale": 8})
    assert "1-4 of 4" in front.last and "mean change" in front.last and "<svg" in front.last
    draw({"layers": "<b>"})
    assert "<b>" not in front.last and "&lt;b&gt;" in front.last
    draw()
    assert "switched off" in front.last


def test_a_shared_mapping_is_cleared(draw, engine):
    """X/Y/Z cells reuse it: nothing of the cell before stays."""
    params = {"NAG scale": "5", "NAG report": {}, "Other": 1}
    infotext.clear(params)
    assert params == {"Other": 1}


def test_a_preset_for_the_model_in_use_is_offered_not_applied(draw, engine, monkeypatch):
    from extras.nag.hosts import webui

    monkeypatch.setattr(webui, "names_in_use", lambda p: ["someXLLightning"])
    told = draw({"negative": "hat", "scale": 8})
    assert "NAG scale: 8" in told.texts[0] and "SDXL Lightning" in script_of(engine).front.last
    draw({"negative": "hat", "scale": 3, "tau": 2.5, "alpha": 0.5})
    assert "SDXL Lightning" not in script_of(engine).front.last, "it is in use already"
