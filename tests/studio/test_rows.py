"""The rows of a model call, and what the denoiser says about where the sampling is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

LONG = ", ".join(f"word{i}" for i in range(90))


@pytest.fixture
def calls(engine):
    """Rows and contexts of every call of the outer module."""
    seen = []

    def hook(module, args, kwargs):
        seen.append((args[0].shape[0], kwargs["c_crossattn"][0].clone(), args[0].clone()))

    handle = engine.model.model.register_forward_pre_hook(hook, with_kwargs=True)
    yield seen
    handle.remove()


def _encode(engine, text):
    with torch.no_grad():
        return engine.model.get_learned_conditioning([text])[0]


def test_conds_first_then_one_uncond_per_image_at_cfg_1_too(draw, calls, engine):
    for cfg in (1, 7):
        calls.clear()
        draw(prompt="a nerd", negative_prompt="glasses", batch_size=2, cfg_scale=cfg, steps=1)
        ((rows, context, _),) = calls
        assert rows == 4
        nerd, glasses = _encode(engine, "a nerd"), _encode(engine, "glasses")
        for row, expected in enumerate([nerd, nerd, glasses, glasses]):
            assert torch.equal(context[row], expected)


def test_cfg_1_is_the_conditional_prediction(draw):
    plain = draw(negative_prompt="").images[0]
    other = draw(negative_prompt="something else entirely").images[0]
    assert np.abs(np.asarray(plain, int) - np.asarray(other, int)).max() <= 1


def test_AND_parts_come_image_by_image(draw, calls, recorder, engine):
    draw(prompt="a cat AND a dog :0.5", negative_prompt="fish", batch_size=2, steps=1, cfg_scale=5)
    ((rows, context, x),) = calls
    assert rows == 6
    cat, dog, fish = (_encode(engine, t) for t in ("a cat ", " a dog", "fish"))
    for row, expected in enumerate([cat, dog, cat, dog, fish, fish]):
        assert torch.equal(context[row], expected)
    assert (
        torch.equal(x[0], x[1]) and torch.equal(x[0], x[4]) and torch.equal(x[2], x[5]) and not torch.equal(x[0], x[2])
    )
    from modules import prompt_parser

    denoiser = recorder.params[0].denoiser
    conds_list, _ = prompt_parser.reconstruct_multicond_batch(denoiser.sampler.sampler_extra_args["cond"], 0)
    assert conds_list == [[(0, 1.0), (1, 0.5)], [(2, 1.0), (3, 0.5)]]


def test_AND_weights_combine_as_the_formula_says(engine):
    from modules.sd_samplers_cfg_denoiser import CFGDenoiser

    x_out = torch.arange(5.0).reshape(5, 1, 1, 1)  # image 0: rows 0, 1; image 1: row 2; unconds 3, 4
    got = CFGDenoiser.combine_denoised(None, x_out, [[(0, 1.0), (1, 0.5)], [(2, 1.0)]], torch.zeros(2, 77, 4), 2.0)
    assert got.flatten().tolist() == [3 + 2 * (0 - 3) + 1 * (1 - 3), 4 + 2 * (2 - 4)]


def test_without_batch_cond_uncond_slices_of_b_rows(draw, calls, options):
    together = draw(batch_size=2, prompt="a AND b", cfg_scale=4).images
    calls.clear()
    options(batch_cond_uncond=False)
    apart = draw(batch_size=2, prompt="a AND b", cfg_scale=4).images
    assert [rows for rows, _, _ in calls] == [2, 2, 2] * 2
    assert np.abs(np.asarray(together[0], int) - np.asarray(apart[0], int)).max() <= 1


@pytest.mark.parametrize("batched, expected", [(True, [2, 2]), (False, [2, 2])])
def test_different_token_counts_make_two_calls(draw, calls, options, batched, expected):
    options(batch_cond_uncond=batched)
    draw(prompt=LONG, negative_prompt="short", batch_size=2, steps=1)
    assert [rows for rows, _, _ in calls] == expected
    assert calls[0][1].shape[1] > 77 and calls[1][1].shape[1] == 77


def test_padding_brings_them_into_one_call(draw, calls, options, engine):
    options(pad_cond_uncond=True)
    res = draw(prompt="short", negative_prompt=LONG, steps=1)
    assert [rows for rows, _, _ in calls] == [2] and "Pad conds: True" in res.info
    empty = engine.model.cond_stage_model_empty_prompt[0]
    assert torch.equal(calls[0][1][0, 77:154], empty)
    calls.clear()
    options(pad_cond_uncond=False, pad_cond_uncond_v0=True)
    draw(prompt="short", negative_prompt=LONG, steps=1)
    assert [c.shape[1] for _, c, _ in calls] == [77]


def test_ngms_and_skip_early_drop_the_uncond_rows_but_callbacks_see_all(draw, calls, options, recorder):
    res = draw(prompt="a AND b", s_min_uncond=15.0, steps=4, cfg_scale=5)
    assert [rows for rows, _, _ in calls] == [3, 2, 3, 2]
    assert [d["rows"] for d in recorder.of("cfg_denoiser")] == [3] * 4
    assert [d["rows"] for d in recorder.of("cfg_denoised")] == [3] * 4
    assert "NGMS: 15.0" in res.info
    calls.clear()
    options(skip_early_cond=0.5)
    draw(steps=4, cfg_scale=5)
    assert [rows for rows, _, _ in calls] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    "sampler, steps, made, total, lagging",
    [
        ("Euler", 4, 4, 4, [0, 0, 1, 2]),
        ("Heun", 4, 7, 8, [0, 0, 0, 1, 1, 2, 2]),
        ("DPM++ 2M", 4, 4, 4, [0, 0, 1, 2]),
        ("DPM++ SDE", 4, 7, 8, None),
        ("DDIM", 4, 3, 4, None),
        ("LCM", 4, 4, 4, None),
    ],
)
def test_step_counts_calls_and_total_steps_is_what_is_expected(draw, recorder, sampler, steps, made, total, lagging):
    draw(sampler_name=sampler, steps=steps)
    seen = recorder.of("cfg_denoiser")
    assert [d["step"] for d in seen] == list(range(made))
    assert {d["total"] for d in seen} == {total}
    if lagging is not None:
        assert [d["sampling_step"] for d in seen] == lagging


def test_sigma_is_the_timestep_for_ddim_and_converts_for_the_others(draw, recorder):
    draw(sampler_name="DDIM", steps=4)
    assert [float(d["sigma"][0]) for d in recorder.of("cfg_denoiser")] == [751, 501, 251]
    recorder.reset()
    draw(sampler_name="Euler", scheduler="Simple", steps=4)
    t = [float(d["denoiser"].inner_model.sigma_to_t(d["sigma"])[0]) for d in recorder.of("cfg_denoiser")]
    assert t == pytest.approx([999, 749, 499, 249], abs=1e-2)


def test_prompt_editing_switches_at_its_step(draw, calls, engine):
    draw(prompt="a [cat:dog:2]", steps=4)
    cat, dog = _encode(engine, "a cat"), _encode(engine, "a dog")
    assert [torch.equal(c[0], cat) for _, c, _ in calls] == [True, True, True, False]  # step counts from 0, as in A1111
    assert torch.equal(calls[3][1][0], dog)


def test_hires_pass(draw, recorder):
    res = draw(enable_hr=True, hr_scale=2, denoising_strength=0.5, steps=4, hr_second_pass_steps=3, hr_prompt="a cat")
    assert res.images[0].size == (128, 128)
    assert [d["is_hr_pass"] for d in recorder.of("process_before_every_sampling")] == [False, True]
    names = recorder.names()
    assert names.index("before_hr") < len(names) - 1 - names[::-1].index("process_before_every_sampling")
    assert names[names.index("before_hr") + 1] == "process_before_every_sampling"
    seen = recorder.of("cfg_denoiser")
    assert [d["step"] for d in seen] == [0, 1, 2, 3, 0, 1, 2] and [d["total"] for d in seen] == [4] * 4 + [3] * 3
    assert (
        "Hires upscale: 2" in res.info and "Hires prompt: a cat" in res.info and "Denoising strength: 0.5" in res.info
    )


def test_img2img_runs_the_end_of_the_schedule(draw, recorder):
    start = draw().images[0]
    for strength, calls in ((0.5, 3), (0.0, 1), (1.0, 4)):
        recorder.reset()
        draw(init_images=[start], denoising_strength=strength, steps=4)
        seen = recorder.of("cfg_denoiser")
        assert len(seen) == calls and {d["total"] for d in seen} == {calls}


def test_an_interrupt_ends_the_job_after_the_running_call_and_postprocesses(draw, recorder, engine):
    recorder.listeners["cfg_after_cfg"] = lambda d: engine.interrupt()
    res = draw(steps=4, n_iter=3)
    names = recorder.names()
    assert names.count("cfg_denoiser") == 1 and names[-1] == "postprocess" and len(res.images) == 1
    assert names.count("post_sample") == 1 and engine.state.job_count == 0
    recorder.reset()
    assert len(draw(steps=4, n_iter=2).images) == 2


def test_skip_ends_the_batch_only(draw, recorder, engine):
    recorder.listeners["cfg_after_cfg"] = lambda d: engine.skip() if len(recorder.of("cfg_after_cfg")) == 1 else None
    res = draw(steps=3, n_iter=2)
    assert len(recorder.of("cfg_denoiser")) == 1 + 3 and len(res.images) == 2
