"""When guidance acts: windows, ramp, cooldown. Outside of the window the picture is the plain one, to the bit."""

import pytest
from host_client import GLASSES

capability = pytest.mark.capability


@capability("outside of the window nothing changes, to the bit")
@pytest.mark.parametrize("cfg", [1, 7])
def test_outside_the_window(host, cfg):
    outside = host.draw({**GLASSES, "start": 0.9, "end": 0.95}, cfg_scale=cfg)
    assert outside.same(host.draw(cfg_scale=cfg)) and "start 0.9" in outside.warning
    assert not outside.report["calls"] and "guided steps" not in outside.texts[0]


@capability("windows of one step; ramp; units")
def test_one_step_windows(host):
    pictures = []
    for k in range(4):
        guided = host.draw({**GLASSES, "start": k / 4, "end": (k + 1) / 4, "unit": "steps"})
        assert guided.report["guided_steps"] == [k + 1] and guided.report["calls"] == guided.report["layers"]
        assert guided.distance(host.plain) > 0
        pictures.append(guided)
    assert not any(a.same(b) for i, a in enumerate(pictures) for b in pictures[:i])


@capability("windows of one step; ramp; units")
def test_the_gate_is_the_schedule(host):
    """Euler's four steps of a scaled-linear model lie at 999, 666, 333, 0."""
    assert host.draw({**GLASSES, "start": 0.2, "end": 0.6}).report["guided_steps"] == [2]
    assert host.draw({**GLASSES, "start": 0.5, "unit": "steps"}).report["guided_steps"] == [3, 4]
    assert host.draw({**GLASSES, "start": 5, "end": 0.5, "unit": "sigma"}).report["guided_steps"] == [2, 3]


@capability("windows of one step; ramp; units")
def test_a_ramp_rises(host):
    ramp = host.draw({**GLASSES, "ramp_steps": 4}).report["per_step"]
    assert [step["strength"] for step in ramp] == [0.25, 0.5, 0.75, 1.0]
    weak, strong = (host.draw({"negative": "glasses", "scale": scale}).report["mean_change"] for scale in (2, 8))
    assert weak < strong


@capability("cooldown lowers CFG after the window")
def test_cooldown(host):
    window = {"negative": "glasses", "scale": 1, "end": 0.3}  # scale 1: only the cooldown can change anything
    plain = host.draw(cfg_scale=7)
    cooled = host.draw({**window, "cooldown": 0.7, "cooldown_drop": 0.5}, cfg_scale=7)
    assert not cooled.same(plain)
    assert [s["cfg_factor"] for s in cooled.report["per_step"]] == [1.0, 0.5, 0.5, 0.5]
    assert host.draw(window, cfg_scale=7).same(plain)
    assert host.draw({**window, "cooldown": 0.7}).same(host.plain), "CFG never goes below 1"
    again = host.draw(cfg_scale=7)
    assert again.same(plain)


@capability("cooldown lowers CFG after the window")
def test_a_drop_to_cfg_1_is_cfg_1(host):
    """CFG 7 lowered by all of it in the steps after the first is at least 1, and stays the same from there on."""
    window = {"negative": "glasses", "scale": 1, "end": 0.3, "cooldown": 0.7}
    all_of_it = host.draw({**window, "cooldown_drop": 1.0}, cfg_scale=7)
    nearly = host.draw({**window, "cooldown_drop": 0.95}, cfg_scale=7)
    assert all_of_it.same(nearly)
