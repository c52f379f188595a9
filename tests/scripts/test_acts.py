"""Guidance acts in a host: every family of samplers, CFG on and off, every pass. Each test fails when it stops to."""

import pytest

GLASSES = {"negative": "glasses", "scale": 8}


@pytest.mark.parametrize("cfg", [1, 7])
def test_it_acts_and_reports(draw, cfg):
    plain, guided = draw(cfg_scale=cfg), draw(GLASSES, cfg_scale=cfg)
    assert not guided.same(plain)
    report = guided.report
    assert report["guided_steps"] == [1, 2, 3, 4] and report["steps"] == 4
    assert report["layers"] > 3 and report["calls"] == 4 * report["layers"]
    assert report["mean_change"] > 0.01 and not report["warnings"] and not report["error"]
    assert "NAG guided steps: 1-4 of 4" in guided.texts[0]
    assert "mean change" in guided.comments


@pytest.mark.parametrize(
    ("sampler", "evaluations"),
    [("Euler", 1), ("Heun", 2), ("DPM++ 2M", 1), ("DPM++ SDE", 2), ("LCM", 1), ("DDIM", 1), ("Euler a", 1)],
)
def test_every_family_of_samplers(draw, sampler, evaluations):
    fields = {"sampler_name": sampler, "steps": 6}
    guided = draw({**GLASSES, "start": 0.2, "end": 0.7}, **fields)
    assert not guided.same(draw(**fields))
    report = guided.report
    assert 0 < len(report["guided_steps"]) < report["steps"]
    assert report["forwards"] <= evaluations * len(report["guided_steps"])
    assert not report["warnings"]


def test_the_gate_is_the_schedule(draw):
    """Steps by their own timesteps, resolved before sampling: 999 666 333 0 here."""
    assert draw({**GLASSES, "start": 0.2, "end": 0.6}).report["guided_steps"] == [2]
    assert draw({**GLASSES, "start": 0.5, "unit": "steps"}).report["guided_steps"] == [3, 4]
    assert draw({**GLASSES, "start": 5, "end": 0.5, "unit": "sigma"}).report["guided_steps"] == [2, 3]


def test_a_ramp_rises_and_a_stronger_scale_changes_more(draw):
    ramp = draw({**GLASSES, "ramp_steps": 4}).report["per_step"]
    assert [step["strength"] for step in ramp] == [0.25, 0.5, 0.75, 1.0]
    assert ramp[0]["change"] < ramp[-1]["change"]
    assert draw({"negative": "glasses", "scale": 2}).report["mean_change"] < draw(GLASSES).report["mean_change"]


def test_cooldown_lowers_cfg_after_the_window(draw):
    window = {"negative": "glasses", "scale": 1, "end": 0.3}  # scale 1: only the cooldown can change anything
    cooled = draw({**window, "cooldown": 0.7, "cooldown_drop": 0.5}, cfg_scale=7)
    assert not cooled.same(draw(cfg_scale=7))
    assert [s["cfg_factor"] for s in cooled.report["per_step"]] == [1.0, 0.5, 0.5, 0.5]
    assert draw(window, cfg_scale=7).same(draw(cfg_scale=7))
    assert draw({**window, "cooldown": 0.7}, cfg_scale=1).same(draw(cfg_scale=1))  # never below 1


@pytest.mark.parametrize(("mode", "passes"), [("both", 2), ("first", 1), ("second", 1)])
def test_hires_passes(draw, mode, passes):
    fields = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7, "steps": 2}
    guided = draw({**GLASSES, "hires": mode}, **fields)
    assert not guided.same(draw(**fields))
    assert set(guided.reports) == {"both": {"picture", "hires"}, "first": {"picture"}, "second": {"hires"}}[mode]
    assert all(r["calls"] for r in guided.reports.values()) and len(guided.reports) == passes


def test_a_picture_without_the_pass_that_was_chosen_says_so(draw):
    drawn = draw({**GLASSES, "hires": "second"})
    assert drawn.same(draw()) and "no pass was guided: 'Hires passes' is set to 'second'" in drawn.comments


def test_a_pass_without_a_step_is_told_and_harms_nothing(draw):
    """A1111's timesteps samplers take none where the strength is low for the number of steps."""
    fields = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 1, "steps": 2}
    drawn = draw(GLASSES, sampler_name="DDIM", denoising_strength=0.3, **fields)
    assert "takes no step in a pass" in drawn.comments and drawn.reports["picture"]["calls"]
    assert not drawn.report["error"]
    assert not drawn.same(draw(sampler_name="DDIM", denoising_strength=0.3, **fields))


def test_img2img(draw):
    from PIL import Image

    fields = {"init_images": [Image.new("RGB", (64, 64), (200, 90, 30))], "denoising_strength": 0.6, "steps": 6}
    guided = draw(GLASSES, **fields)
    assert not guided.same(draw(**fields))
    assert guided.report["guided_steps"] == list(range(1, guided.report["steps"] + 1))


def test_skipping_the_unused_half_keeps_the_picture(draw):
    skipped, guided = draw({**GLASSES, "skip_uncond": True}, batch_size=2), draw(GLASSES, batch_size=2)
    assert skipped.same(guided, tolerance=1) and not skipped.report["warnings"]
    assert "CFG is not 1" in draw({**GLASSES, "skip_uncond": True}, cfg_scale=7).comments


def test_empty_negative(draw):
    assert draw({"negative": ""}).report["calls"]
    skipped = draw({"negative": " ", "empty_negative": "skip"})
    assert skipped.same(draw()) and "nothing is guided" in skipped.comments
    of_host = draw({"negative": "", "scale": 8, "empty_negative": "host"}, negative_prompt="glasses")
    assert of_host.same(draw(GLASSES, negative_prompt="glasses"))


def test_inpainting_guides_inside_the_mask_only(draw):
    import numpy as np
    from PIL import Image

    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    fields = {
        "init_images": [Image.new("RGB", (64, 64), (200, 90, 30))], "mask": mask, "mask_blur": 0,
        "denoising_strength": 0.9, "inpaint_full_res": False, "steps": 6, "cfg_scale": 7,
    }  # fmt: skip
    guided, plain = draw(GLASSES, **fields), draw(**fields)
    changed = np.abs(guided.pixels[0] - plain.pixels[0]).max(-1)
    assert changed[20:44, 20:44].max() > 0 and guided.report["calls"]
    assert changed[:14].max() == 0 and changed[50:].max() == 0
