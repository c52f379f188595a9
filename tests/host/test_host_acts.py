"""Guidance acts, in every kind of picture; switched off, nothing of it is there."""

import numpy as np
import pytest
from host_client import GLASSES, written
from PIL import Image

capability = pytest.mark.capability
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "steps": 2}


@pytest.fixture(scope="module")
def start():
    """A picture to begin with, in base64."""
    return written(Image.linear_gradient("L").resize((64, 64)).convert("RGB"))


@pytest.fixture(scope="module")
def mask():
    image = Image.new("L", (64, 64), 0)
    image.paste(255, (16, 16, 48, 48))
    return written(image)


@capability("acts in txt2img, CFG 1 and 7")
@pytest.mark.parametrize("cfg", [1, 7])
def test_txt2img(host, note, cfg):
    plain, guided = host.pair(cfg_scale=cfg)
    assert guided.distance(plain) > 2
    report = guided.report
    assert report["guided_steps"] == [1, 2, 3, 4] and report["steps"] == 4
    assert report["layers"] > 3 and report["calls"] == 4 * report["layers"] and report["forwards"] == 4
    assert report["mean_change"] > 0.01 and not report["warnings"] and not report["error"]
    assert "NAG enabled: True" in guided.texts[0] and "NAG guided steps: 1-4 of 4" in guided.texts[0]
    assert guided.same(host.draw(GLASSES, cfg_scale=cfg)), "the same request gives another picture"
    note(f"{report['layers']} layers")


@capability("off is off, to the bit")
def test_off(host):
    assert host.draw(GLASSES).distance(host.plain) > 2
    assert host.draw({"enabled": False, "negative": "glasses", "scale": "nonsense"}).same(host.plain)
    assert host.draw(args=[False, "glasses", 99]).same(host.plain)
    assert host.draw({"enabled": False}, always={}).same(host.plain)
    last = host.draw()
    assert last.same(host.plain) and "NAG" not in last.texts[0] and not last.params.get("NAG report")


@capability("off is off, to the bit")
@pytest.mark.parametrize("cfg", [1, 7])
@pytest.mark.parametrize("neutral", [{"scale": 1}, {"alpha": 0}])
def test_neutral_strength(host, neutral, cfg):
    guided = host.draw({"negative": "glasses", **neutral}, cfg_scale=cfg)
    assert guided.same(host.draw(cfg_scale=cfg)) and "unchanged" in guided.warning


@capability("img2img")
@pytest.mark.parametrize("cfg", [1, 7])
def test_img2img(host, start, cfg):
    fields = {"init_images": [start], "denoising_strength": 0.6, "steps": 6, "cfg_scale": cfg}
    plain, guided = host.pair(**fields)
    assert guided.distance(plain) > 2
    assert guided.report["guided_steps"] == list(range(1, guided.report["steps"] + 1))
    assert host.draw(**fields).same(plain)


@capability("inpaint")
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "only-masked"])
def test_inpaint(host, start, mask, whole):
    fields = {
        "init_images": [start], "mask": mask, "mask_blur": 0, "inpaint_full_res": not whole, "steps": 6,
        "inpaint_full_res_padding": 8, "denoising_strength": 0.9, "inpainting_fill": 1, "cfg_scale": 7,
    }  # fmt: skip
    plain, guided = host.pair(**fields)
    changed = np.abs(guided.pixels[0] - plain.pixels[0]).max(-1)
    assert changed[20:44, 20:44].max() > 2 and guided.report["calls"]
    assert changed[:14].max() == 0 and changed[50:].max() == 0, "outside of the mask nothing may change"
    assert host.draw(**fields).same(plain)


@capability("hires fix: both passes, first, second")
@pytest.mark.parametrize("cfg", [1, 7])
@pytest.mark.parametrize("mode", ["both", "first", "second"])
def test_hires(host, mode, cfg):
    fields = {**HIRES, "cfg_scale": cfg}
    plain, guided = host.pair({**GLASSES, "hires": mode}, **fields)
    assert guided.distance(plain) > 2
    assert set(guided.reports) == {"both": {"picture", "hires"}, "first": {"picture"}, "second": {"hires"}}[mode]
    assert all(report["calls"] and not report["error"] for report in guided.reports.values())
    assert guided.pixels.shape[1:3] == (96, 96)


@capability("hires fix: the hires negative prompt")
def test_hires_negative(host):
    """With 'Empty negative: host', the second pass takes the host's hires negative prompt."""
    fields = {**HIRES, "negative_prompt": "tree", "hr_negative_prompt": "hat", "cfg_scale": 7}
    of_host = host.draw({"negative": "", "scale": 8, "empty_negative": "host", "hires": "second"}, **fields)
    ours = host.draw({"negative": "hat", "scale": 8, "hires": "second"}, **fields)
    assert of_host.same(ours) and of_host.distance(host.draw(**fields)) > 2


@capability("hires checkpoint")
def test_hires_checkpoint(host, note):
    if not host.others:
        pytest.skip("only one checkpoint here")
    for other in host.others:
        title = next(m["title"] for m in host.api("sd-models") if other in m["title"])
        fields = {**HIRES, "hr_checkpoint_name": title}
        plain, guided = host.pair({**GLASSES, "hires": "second"}, **fields)
        assert guided.distance(plain) > 2, other
        assert guided.reports["hires"]["calls"] and not guided.reports["hires"]["error"], other
        assert host.restored(), other
    note(f"{len(host.others)} other checkpoints")


@capability("refiner")
def test_refiner(host, note):
    if not host.others:
        pytest.skip("only one checkpoint here")
    for other in host.others:
        title = next(m["title"] for m in host.api("sd-models") if other in m["title"])
        fields = {"refiner_checkpoint": title, "refiner_switch_at": 0.5}
        plain, guided = host.pair(**fields)
        assert plain.distance(host.plain) > 2, f"{other}: the refiner did nothing"
        assert guided.distance(plain) > 2 and guided.report["guided_steps"] == [1, 2, 3, 4], other
        late = host.draw({**GLASSES, "start": 0.5, "unit": "steps"}, **fields)
        assert late.report["guided_steps"] == [3, 4] and not late.same(plain), other
        assert host.restored(), other
    note(f"{len(host.others)} other checkpoints")


@capability("layers can be chosen")
def test_layers(host):
    every, middle = host.draw(GLASSES), host.draw({**GLASSES, "layers": "m0"})
    assert 0 < middle.report["layers"] < every.report["layers"]
    assert middle.distance(host.plain) > 0 and not middle.same(every)
    wrong = host.draw({**GLASSES, "layers": "d99"})
    assert wrong.same(host.plain) and "d99" in wrong.error and "u0" in wrong.error


@capability("the unused half at CFG 1 can be skipped")
def test_skip_uncond(host, note):
    skipped, guided = host.draw({**GLASSES, "skip_uncond": True}), host.draw(GLASSES)
    assert skipped.same(guided, tolerance=2)
    if skipped.warning:
        reason = host.differs("skip_uncond")
        assert reason, f"not in the table of differences: {skipped.warning}"
        note(reason)
    else:
        assert not host.differs("skip_uncond")
    assert "has no effect" in host.draw({**GLASSES, "skip_uncond": True}, cfg_scale=7).warning


@capability("samplers")
@pytest.mark.parametrize("cfg", [1, 7])
def test_every_sampler(host, note, cfg):
    wrong, told = {}, {}
    for name in host.samplers:
        fields = {"sampler_name": name, "steps": 5, "cfg_scale": cfg}
        plain, guided = host.pair(**fields)
        report = guided.report
        if reason := host.differs(name):
            assert not plain.pixels.any() and host.restored()
            told[reason] = name
        elif guided.distance(plain) <= 2 or not report.get("calls") or report.get("error") or report.get("warnings"):
            wrong[name] = {k: report.get(k) for k in ("calls", "error", "warnings")} | {"by": guided.distance(plain)}
        elif not host.draw(**fields).same(plain):
            wrong[name] = "the plain picture is another one afterwards"
    note("; ".join([f"{len(host.samplers)} samplers", *told]))
    assert not wrong, wrong


@capability("samplers")
def test_half_a_window(host):
    """One of every family: only the steps of the window are guided."""
    families = {"Euler", "Heun", "DPM++ 2M", "DPM++ SDE", "LCM", "DDIM", "UniPC", "Euler a"}
    for sampler in sorted(families & set(host.samplers)):
        report = host.draw({**GLASSES, "end": 0.6}, sampler_name=sampler, steps=6).report
        steps = report["guided_steps"]
        assert steps == list(range(1, len(steps) + 1)) and 0 < len(steps) < report["steps"], sampler
        assert any(line["strength"] == 0 for line in report["per_step"]), sampler
