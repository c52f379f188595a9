"""The other methods of guidance, alone and together, and the hand-off from a base model."""

import numpy as np
import pytest
from host_client import GLASSES, Refused, read

capability = pytest.mark.capability
METHODS = {
    "NAG-PAG": {"nag_pag_scale": 3},
    "TPG": {"tpg_scale": 3},
    "PAG": {"pag_scale": 3},
    "SoftPAG": {"pag_scale": 3, "pag_beta": 0.5, "pag_heads": "0-1"},
    "three-way": {"three_way_scale": 3, "negative": "glasses"},
}
KEYS = {"SoftPAG": "PAG"}  # under what name it reports


@capability("NAG-PAG, TPG, PAG, SoftPAG, three-way")
@pytest.mark.parametrize("cfg", [1, 7])
@pytest.mark.parametrize("name", METHODS)
def test_method(host, name, cfg):
    options = {"nag": False, **METHODS[name]}
    plain, guided = host.pair(options, cfg_scale=cfg)
    report = guided.reports[KEYS.get(name, name)]
    assert (
        guided.distance(plain) > 2 and report["calls"] and report["mean_change"] > 1e-4
    )  # SoftPAG on two heads: .0009
    assert report["guided_steps"] == [1, 2, 3, 4] and not report["warnings"] and not guided.error
    assert guided.same(host.draw(options, cfg_scale=cfg)), "the same request gives another picture"
    assert host.draw(cfg_scale=cfg).same(plain)


@capability("NAG-PAG, TPG, PAG, SoftPAG, three-way")
@pytest.mark.parametrize("name", ["NAG-PAG", "TPG", "PAG", "three-way"])
def test_window_of_a_method(host, name):
    key = next(iter(METHODS[name])).removesuffix("scale")
    guided = host.draw({"nag": False, **METHODS[name], f"{key}start": 0.3, f"{key}end": 0.6}, steps=6)
    steps = guided.reports[name]["guided_steps"]
    assert 0 < len(steps) < 6 and steps == list(range(steps[0], steps[-1] + 1))
    assert host.draw().same(host.plain)


@capability("methods: any together, in calls of their own or in the host's")
def test_all_at_once(host):
    options = {**GLASSES, "nag_pag_scale": 2, "tpg_scale": 2, "pag_scale": 2, "three_way_scale": 2}
    fields = {"cfg_scale": 5, "batch_size": 2}
    plain, guided = host.pair(options, **fields)
    assert set(guided.reports) == {"picture", "NAG-PAG", "TPG", "PAG", "three-way"}
    assert all(report["calls"] and not report["warnings"] for report in guided.reports.values())
    assert guided.distance(plain) > 2 and not guided.error
    assert host.draw({**options, "together": True}, **fields).same(guided, tolerance=2)
    assert host.draw(**fields).same(plain)


@capability("fused kernel: the same picture; where there is none, the report says so")
@pytest.mark.parametrize("cfg", [1, 7])
def test_fused(host, note, cfg):
    plain, eager = host.pair(cfg_scale=cfg)
    fused = host.draw({**GLASSES, "fused": True}, cfg_scale=cfg)
    assert fused.distance(plain) > 2 and fused.same(eager, tolerance=2) and not fused.error
    assert fused.report["calls"] == eager.report["calls"]
    told = fused.report["warnings"]
    assert all("fused kernel" in text for text in told), told
    note("none here, and that is said" if told else "compiled")
    assert host.draw(cfg_scale=cfg).same(plain)


@capability("hand-off: the first steps on another checkpoint")
@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M"])
def test_handoff(host, note, sampler):
    if not host.others:
        pytest.skip("this host has no other checkpoint")
    fields = {"steps": 6, "sampler_name": sampler}
    given = {"handoff_steps": 2, "handoff_checkpoint": host.others[0], "handoff_cfg": 5}
    plain, nag = host.pair(**fields)
    guided = host.draw({**GLASSES, **given}, **fields)
    unguided = host.draw({**GLASSES, **given, "nag": False}, **fields)
    assert guided.same(host.draw({**GLASSES, **given}, **fields)), "the same request gives another picture"
    assert unguided.distance(plain) > 2 and guided.distance(unguided) > 0 and guided.distance(nag) > 2
    assert guided.reports["hand-off"]["guided_steps"] == [1, 2] and guided.report["guided_steps"] == [3, 4, 5, 6]
    assert not guided.error and not guided.report["warnings"]
    assert host.draw(**fields).same(plain), "the checkpoint chosen before is not back"
    note(guided.reports["hand-off"]["schedule"].partition(" on ")[0])


@capability("hand-off: bad input is named, the picture is the unguided one")
def test_handoff_that_cannot_be(host):
    for given, field in (
        ({"handoff_steps": 2}, "handoff_checkpoint"),
        ({"handoff_steps": 2, "handoff_checkpoint": "no such"}, "handoff_checkpoint"),
        ({"handoff_steps": 9, "handoff_lora": "x"}, "handoff"),
    ):
        drawn = host.draw({**GLASSES, **given})
        assert field in drawn.error and "allowed" in drawn.error, given
        assert drawn.same(host.plain)


@capability("routes of its own: text-to-image, image-to-image")
@pytest.mark.parametrize("kind", ["text", "image"])
def test_routes(host, kind):
    """Guided by NAG-PAG; without, the host's own picture; 422 names what is wrong."""
    path = f"/nag-time/{kind}-to-image"
    asked = {"prompt": "a nerd", "width": 64, "height": 64, "num_inference_steps": 4, "guidance_scale": 1, "seed": 7}
    if kind == "image":
        asked |= {"image_url": f"data:image/png;base64,{host.plain.pngs[0]}", "strength": 0.7}
    plain = host.post(path, {**asked, "enable_nag_pag": False})
    guided = host.post(path, {**asked, "nag_pag_scale": 3})
    assert guided["has_nag_pag"] and guided["nag_pag"]["calls"] and not guided["warnings"] and guided["seed"] == 7
    assert not plain["has_nag_pag"] and plain["nag_pag"] is None
    assert abs(np.asarray(read(guided["image"])).astype(int) - np.asarray(read(plain["image"]))).max() > 2
    for field, value in (("nag_pag_scale", 99), ("nag_pag_applied_layers", ["no-such"]), ("guidance_scale", "much")):
        with pytest.raises(Refused) as refused:
            host.post(path, {**asked, field: value})
        assert refused.value.status == 422 and field in refused.value.body
    assert host.draw().same(host.plain)
