"""Which methods are on, with which windows; the CFG scale of each step; values that make NAG do nothing."""

import pytest

from extras.nag.settings import Settings
from extras.nag.windows import NAG, TPG, cfg_scales, no_effect, windows_of

GRID = (999, 749, 499, 249)


def names(**values):
    return [window.name for window in windows_of(Settings.parse(values))]


def resolved(settings):
    return {window.name: window.schedule.resolve(GRID) for window in windows_of(settings)}


def test_nag_alone_is_on_by_default_and_the_others_by_their_scale():
    assert names() == [NAG] == ["NAG"]
    every = {"nag_pag_scale": 0.1, "tpg_scale": 0.1, "pag_scale": 0.1, "three_way_scale": 1.1}
    assert names(**every) == ["NAG", "NAG-PAG", TPG, "PAG", "Three-way"] and TPG == "TPG"
    assert names(nag=False) == [] and names(nag=False, three_way_scale=1.0, pag_scale=0.0) == []
    assert names(nag=False, pag_scale=2) == ["PAG"]


def test_each_has_its_own_window():
    settings = Settings.parse({"start": 0.17, "end": 0.5, "pag_scale": 2, "pag_start": 0.3, "pag_end": 0.9})
    found = {window.name: (window.schedule.start, window.schedule.end) for window in windows_of(settings)}
    assert found == {"NAG": (0.17, 0.5), "PAG": (0.3, 0.9)}


def test_the_cooldown_lowers_the_scale_of_its_steps():
    settings = Settings.parse({"end": 0.5, "cooldown": 0.3, "cooldown_drop": 0.25, "pag_scale": 1})
    assert cfg_scales(settings, resolved(settings), 8.0) == [8, 8, 8, 6]
    assert cfg_scales(settings, resolved(settings), 1.0) == [1, 1, 1, 1]


@pytest.mark.parametrize(("mode", "scales"), [("with CFG", [7, 7, 7, 7]), ("alone", [7, 1, 1, 7])])
def test_tpg_alone_has_no_cfg_in_its_own_steps(mode, scales):
    settings = Settings.parse({"tpg_scale": 3, "tpg_mode": mode, "tpg_start": 0.17, "tpg_end": 0.5})
    assert cfg_scales(settings, resolved(settings), 7.0) == scales


def test_alone_needs_tpg_itself():
    settings = Settings.parse({"tpg_mode": "alone"})
    assert cfg_scales(settings, resolved(settings), 7.0) == [7, 7, 7, 7]


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({}, []),
        ({"scale": 1}, ["scale"]),
        ({"alpha": 0}, ["alpha"]),
        ({"scale": 1, "alpha": 0}, ["scale", "alpha"]),
        ({"scale": 1, "alpha": 0, "nag": False, "pag_scale": 2}, []),
        ({"alpha": 1}, []),
    ],
)
def test_what_makes_nag_do_nothing(values, fields):
    settings = Settings.parse(values)
    assert no_effect(settings, windows_of(settings)) == fields
