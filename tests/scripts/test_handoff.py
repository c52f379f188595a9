"""The first steps on a base model, the rest on the model that is chosen."""

from __future__ import annotations

import numpy as np
import pytest

BASE = {"negative": "glasses", "handoff_steps": 1, "handoff_checkpoint": "beta", "handoff_cfg": 5.0}


def pixels(picture):
    return picture.pixels


@pytest.fixture
def models_seen(engine, monkeypatch):
    """(checkpoint, CFG scale in force) of every evaluation."""
    from modules import sd_samplers_cfg_denoiser, shared

    seen = []
    combine = sd_samplers_cfg_denoiser.CFGDenoiser.combine_denoised

    def spy(self, x_out, conds_list, uncond, cond_scale):
        seen.append((shared.sd_model.sd_checkpoint_info.model_name, round(cond_scale, 6)))
        return combine(self, x_out, conds_list, uncond, cond_scale)

    monkeypatch.setattr(sd_samplers_cfg_denoiser.CFGDenoiser, "combine_denoised", spy)
    return seen


def test_the_base_draws_the_first_steps_with_its_own_cfg(draw, models_seen):
    picture = draw({**BASE, "nag": False})
    assert models_seen == [("beta", 5.0), ("alpha", 1.0), ("alpha", 1.0), ("alpha", 1.0)]
    assert "CFG scale: 1" in picture.texts[0] and "NAG handoff steps: 1" in picture.texts[0]
    report = picture.reports["hand-off"]
    assert report["guided_steps"] == [1] and report["calls"] == 1
    assert [line["model"] for line in report["per_step"]] == ["beta", "alpha", "alpha", "alpha"]
    assert "steps 1 of 4 on beta at CFG 5, then alpha at CFG 1" in report["schedule"]


def test_nag_begins_on_the_model_that_takes_over(draw):
    alone, with_nag = draw({**BASE, "nag": False}), draw({**BASE, "scale": 6})
    assert with_nag.report["guided_steps"] == [2, 3, 4] and with_nag.report["calls"] > 0
    assert not np.array_equal(pixels(alone), pixels(with_nag))


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M SDE", "Heun", "LCM", "DDIM"])
def test_a_seed_gives_the_picture_again_and_nothing_stays(draw, sampler):
    plain = pixels(draw(sampler_name=sampler))
    first, again = (pixels(draw(BASE, sampler_name=sampler)) for _ in range(2))
    assert np.array_equal(first, again) and not np.array_equal(first, plain)
    assert np.array_equal(pixels(draw(sampler_name=sampler)), plain)


def test_every_batch_begins_on_the_base(draw, models_seen):
    both = draw({**BASE, "nag": False}, n_iter=2)
    assert [name for name, _ in models_seen] == ["beta", "alpha", "alpha", "alpha"] * 2
    assert len(both.reports["hand-off"]["per_step"]) == 4


@pytest.mark.parametrize(
    ("values", "fields", "told"),
    [
        ({"handoff_checkpoint": "gamma"}, {}, "handoff_checkpoint: 'gamma'"),
        ({"handoff_checkpoint": ""}, {}, "handoff_checkpoint: ''"),
        ({"handoff_checkpoint": "alpha"}, {}, "another checkpoint than the one chosen"),
        ({"handoff_steps": 4}, {}, "fewer than the 4 steps"),
        ({"handoff_steps": 51}, {}, "handoff_steps: 51"),
        ({}, {"refiner_checkpoint": "beta", "refiner_switch_at": 0.5}, "refiner is in use"),
    ],
)
def test_what_cannot_be_is_told_and_the_picture_is_drawn_plain(draw, values, fields, told):
    picture = draw({**BASE, **values}, **fields)
    assert told in picture.texts[0]
    assert np.array_equal(pixels(picture), pixels(draw(**fields)))
