"""A second checkpoint takes over in the middle of the sampling."""

from __future__ import annotations

import numpy as np
import pytest

FOUR = {"steps": 4, "cfg_scale": 2, "seed": 3}


def _array(processed):
    return np.asarray(processed.images[0], int)


def test_the_other_checkpoint_takes_over_at_the_step_asked_for(draw, options, recorder, engine):
    options(refiner_switch_by_sample_steps=True)
    plain = _array(draw(**FOUR))
    other = _array(draw(**FOUR, override_settings={"sd_model_checkpoint": "beta"}))
    names = []
    recorder.listeners["cfg_denoiser"] = lambda d: names.append(
        __import__("modules.shared").shared.sd_model.sd_checkpoint_info.model_name
    )
    mixed = draw(**FOUR, refiner_checkpoint="beta", refiner_switch_at=0.5)
    assert names == ["alpha", "alpha", "beta", "beta"]
    assert not np.array_equal(_array(mixed), plain) and not np.array_equal(_array(mixed), other)
    assert "Refiner: beta [" in mixed.info and "Refiner switch at: 0.5" in mixed.info
    assert np.array_equal(_array(draw(**FOUR, refiner_checkpoint="beta", refiner_switch_at=0.5)), _array(mixed))
    assert np.array_equal(_array(draw(**FOUR, refiner_checkpoint="beta", refiner_switch_at=0.0)), other)
    assert np.array_equal(_array(draw(**FOUR)), plain), "the next picture is the loaded checkpoint's again"


def test_by_default_the_noise_decides(draw, recorder):
    names = []
    recorder.listeners["cfg_denoiser"] = lambda d: names.append(
        __import__("modules.shared").shared.sd_model.sd_checkpoint_info.model_name
    )
    draw(**FOUR, scheduler="SGM Uniform", refiner_checkpoint="beta", refiner_switch_at=0.6)
    assert names == ["alpha", "alpha", "alpha", "beta"], "steps at 0, .25, .5 and .75 of the noise"


def test_hires_refines_the_second_pass_by_default(draw, recorder, options):
    options(refiner_switch_by_sample_steps=True)
    names = []
    recorder.listeners["cfg_denoiser"] = lambda d: names.append(
        __import__("modules.shared").shared.sd_model.sd_checkpoint_info.model_name
    )
    draw(**FOUR, refiner_checkpoint="beta", refiner_switch_at=0.5, enable_hr=True, hr_scale=1.5, denoising_strength=0.9)
    assert names[:4] == ["alpha"] * 4 and names[4] == "alpha" and names[-1] == "beta"


def test_an_unknown_name_is_refused_with_those_that_exist(draw):
    from extras.studio.fields import FieldError

    with pytest.raises(FieldError, match=r"refiner_checkpoint: 'gamma' .*alpha.*beta"):
        draw(refiner_checkpoint="gamma", refiner_switch_at=0.5)
