"""guide(pipe): three lines for people with a diffusers pipeline."""

import nag_pipelines
import numpy as np
import pytest
import torch
from diffusers import HeunDiscreteScheduler, LCMScheduler

from extras.nag import LayerError, SettingsError, guide
from extras.nag.hosts.diffusers import NagWarning
from extras.nag.taps import count_taps


@pytest.fixture(scope="module")
def sd_pipe(tmp_path_factory):
    return nag_pipelines.sd(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def sdxl_pipe(tmp_path_factory):
    return nag_pipelines.sdxl(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(params=["sd", "sdxl"])
def pipe(request):
    return request.getfixturevalue(f"{request.param}_pipe")


def draw(pipe, prompt="a nerd", seed=0, **options):
    """Pictures as an array (n, height, width, 3)."""
    options = {"num_inference_steps": 4, "guidance_scale": 1.0, "height": 32, "width": 32} | options
    count = len(prompt) if isinstance(prompt, list) else 1
    count *= options.get("num_images_per_prompt", 1)
    generators = [torch.Generator().manual_seed(seed + i) for i in range(count)]
    return pipe(prompt, generator=generators, output_type="np", **options).images


def hooks(pipe):
    return count_taps(pipe.unet) + len(pipe.unet._forward_pre_hooks)


def test_the_three_lines(pipe):
    plain = draw(pipe)
    with guide(pipe, negative="glasses", scale=5) as run:
        image = draw(pipe)
    layers = 16 if type(pipe).__name__ == "StableDiffusionPipeline" else 70
    assert run.report.layers == layers and run.report.calls == 4 * layers
    assert run.report.guided_steps == [1, 2, 3, 4] and run.report.mean_change > 0.01
    assert np.abs(image - plain).mean() > 1e-4
    assert hooks(pipe) == 0 and np.array_equal(draw(pipe), plain)


def test_the_window_of_nag_time(pipe):
    plain = draw(pipe)
    with guide(pipe, negative="glasses", scale=8, start=0.17, end=0.5) as run:
        image = draw(pipe)
    assert run.report.guided_steps == [2, 3] and run.report.forwards == 2
    assert run.report.schedule == "guided: steps 2-3 of 4"
    assert not np.array_equal(image, plain)


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_with_and_without_cfg(pipe, scale):
    plain = draw(pipe, guidance_scale=scale)
    with guide(pipe, negative="glasses", scale=5) as run:
        image = draw(pipe, guidance_scale=scale)
    assert run.report.acted and not np.array_equal(image, plain)


def test_the_unconditional_half_is_untouched(sd_pipe):
    seen = []
    attn = sd_pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn2

    def watch(module, args):
        seen.append(args[0].clone())

    handle = attn.to_out[1].register_forward_pre_hook(watch)
    try:
        draw(sd_pipe, guidance_scale=7.0, num_inference_steps=1)
        with guide(sd_pipe, negative="glasses", scale=5, layers="m0"):
            draw(sd_pipe, guidance_scale=7.0, num_inference_steps=1)
    finally:
        handle.remove()
    assert torch.equal(seen[0][:1], seen[1][:1]) and not torch.equal(seen[0][1:], seen[1][1:])


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_a_batch_is_each_image_as_alone(pipe, scale):
    prompts = ["a nerd", "a hat on pink"]
    with guide(pipe, negative=["glasses", "flowers"], scale=5):
        together = draw(pipe, prompts, guidance_scale=scale)
    for i, (prompt, negative) in enumerate(zip(prompts, ["glasses", "flowers"], strict=True)):
        with guide(pipe, negative=negative, scale=5):
            alone = draw(pipe, prompt, seed=i, guidance_scale=scale)
        np.testing.assert_allclose(together[i], alone[0], atol=2e-4)


def test_images_per_prompt_share_the_prompts_negative(sd_pipe):
    with guide(sd_pipe, negative=["glasses", "flowers"], scale=5):
        together = draw(sd_pipe, ["a nerd", "a hat"], num_images_per_prompt=2)
    with guide(sd_pipe, negative="flowers", scale=5):
        alone = draw(sd_pipe, "a hat", seed=3)
    np.testing.assert_allclose(together[3], alone[0], atol=2e-4)
    with pytest.raises(ValueError, match="2 texts for 3 images"), guide(sd_pipe, negative=["a", "b"]):
        draw(sd_pipe, ["a", "a", "a"])
    assert hooks(sd_pipe) == 0


def test_long_negatives_are_not_cut(pipe):
    long = "glasses " * 60 + "flowers " * 60
    with guide(pipe, negative=long, scale=5) as run:
        first = draw(pipe)
        tokens = {stack.shape[1] for stack in run._run.runs[0].branch._current.stacks}
    with guide(pipe, negative="glasses " * 60, scale=5):
        second = draw(pipe)
    assert tokens == {154} and not np.array_equal(first, second)


def test_a_word_too_long_for_the_encoder_is_told(sd_pipe):
    with pytest.warns(NagWarning, match="cut"), guide(sd_pipe, negative="x" * 200):
        draw(sd_pipe, num_inference_steps=1)


def test_several_generations_in_one_block(sd_pipe):
    with guide(sd_pipe, negative="glasses", scale=5) as run:
        first = draw(sd_pipe)
        second = draw(sd_pipe, num_inference_steps=8)
        third = draw(sd_pipe)
    assert [len(r.guided_steps) for r in run.reports] == [4, 8, 4]
    assert np.array_equal(first, third) and not np.array_equal(first, second)


def test_image_to_image_begins_where_it_begins(tmp_path):
    pipe = nag_pipelines.sd(tmp_path, image_to_image=True)
    picture = torch.rand(1, 3, 32, 32)
    options = {"num_inference_steps": 4, "guidance_scale": 1.0, "output_type": "np"}
    with guide(pipe, negative="glasses", scale=5, start=0.17, end=0.5) as run:
        pipe("a nerd", image=picture, strength=0.5, generator=torch.Generator().manual_seed(0), **options)
    assert run.report.steps == 2 and run.report.guided_steps == [1]


@pytest.mark.parametrize(("scheduler", "steps"), [(LCMScheduler, [2, 3]), (HeunDiscreteScheduler, None)])
def test_other_schedulers(tmp_path, scheduler, steps):
    pipe = nag_pipelines.sd(tmp_path)
    options = {"timestep_spacing": "trailing"} if scheduler is HeunDiscreteScheduler else {}
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **options)
    with guide(pipe, negative="glasses", scale=5, start=0.17, end=0.5) as run:
        draw(pipe)
    report = run.report
    assert report.steps == 4 and report.guided_steps == [2, 3]
    assert report.forwards == (2 if steps else 4)  # a second-order step calls the model twice


@pytest.mark.parametrize("window", [{"start": 10, "end": 1}, {"end": 0.5}])
def test_sigma_windows(sd_pipe, window):
    with guide(sd_pipe, negative="glasses", unit="sigma", **window) as run:
        draw(sd_pipe, num_inference_steps=10)
    kept = sd_pipe.scheduler.alphas_cumprod
    sigmas = [float(((1 - kept[t]) / kept[t]).sqrt()) for t in sd_pipe.scheduler.timesteps]
    high = window.get("start", float("inf"))
    assert run.report.guided_steps == [i + 1 for i, s in enumerate(sigmas) if high >= s > window["end"]]


def test_cooldown_lowers_cfg_and_puts_it_back(sd_pipe):
    seen = []

    def watch(pipe, step, t, kwargs):
        seen.append(pipe.guidance_scale)
        return kwargs

    options = {"guidance_scale": 5.0, "callback_on_step_end": watch}
    with guide(sd_pipe, negative="glasses", start=0.17, end=0.5, cooldown=0.5):
        draw(sd_pipe, **options)
    assert seen == [5, 5, 5, 4] and sd_pipe.guidance_scale == 5
    seen.clear()
    with guide(sd_pipe, negative="glasses", end=0.3, cooldown=0.7, cooldown_drop=1.0):
        draw(sd_pipe, **options)
    assert seen[:2] == [5, 5] and seen[2:] == pytest.approx([1, 1], abs=1e-5)


def test_a_scale_that_a_callback_sets_stays(sd_pipe):
    """As in diffusers' own example of CFG that ends early."""
    seen = []

    def stop_cfg(pipe, step, t, kwargs):
        seen.append(pipe.guidance_scale)
        if step == 2:
            pipe._guidance_scale = 0.0
            kwargs["prompt_embeds"] = kwargs["prompt_embeds"].chunk(2)[-1]
        return kwargs

    options = {"callback_on_step_end": stop_cfg, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    with guide(sd_pipe, negative="glasses", start=0.17, end=0.3, cooldown=0.7):
        draw(sd_pipe, guidance_scale=5.0, num_inference_steps=5, **options)
    assert seen[2] < 5 and seen[3:] == [0, 0] and sd_pipe.guidance_scale == 0


def test_clip_skip_is_the_prompts_own(sdxl_pipe):
    with guide(sdxl_pipe, negative="glasses", scale=5) as run:
        draw(sdxl_pipe, clip_skip=1)
        skipped = run._run.runs[0].branch._current.stacks[0]
        draw(sdxl_pipe)
        plain = run._run.runs[0].branch._current.stacks[0]
    assert not torch.equal(skipped, plain)


# -- the empty negative ---


def test_empty_negative_guides_by_default_and_can_be_skipped(sd_pipe):
    plain = draw(sd_pipe)
    with guide(sd_pipe, scale=5) as run:
        guided = draw(sd_pipe)
    assert run.report.acted and not np.array_equal(guided, plain)
    with pytest.warns(NagWarning, match="nothing is guided"), guide(sd_pipe, empty_negative="skip") as run:
        skipped = draw(sd_pipe)
    assert np.array_equal(skipped, plain) and run.report.calls == 0 and len(run.report.warnings) == 1


def test_empty_negative_may_be_the_pipelines_own(sd_pipe):
    options = {"guidance_scale": 7.0, "negative_prompt": "flowers"}
    with guide(sd_pipe, empty_negative="host", scale=5):
        borrowed = draw(sd_pipe, **options)
    with guide(sd_pipe, "flowers", scale=5):
        own = draw(sd_pipe, **options)
    np.testing.assert_allclose(borrowed, own, atol=1e-5)
    with pytest.warns(NagWarning, match="CFG 1"), guide(sd_pipe, empty_negative="host"):
        draw(sd_pipe)


# -- always removed, never silent ---


def test_an_exception_in_the_pipeline_leaves_nothing(sd_pipe):
    plain = draw(sd_pipe, guidance_scale=5.0)

    def explode(pipe, step, t, kwargs):
        if step == 2:
            raise RuntimeError("stop here")
        return kwargs

    with (
        pytest.raises(RuntimeError, match="stop here"),
        guide(sd_pipe, "glasses", cooldown=0.9, end=0.2) as run,
    ):
        draw(sd_pipe, guidance_scale=5.0, callback_on_step_end=explode)
    assert hooks(sd_pipe) == 0 and run.report.guided_steps == [1]
    assert np.array_equal(draw(sd_pipe, guidance_scale=5.0), plain)


def test_the_next_generation_after_a_failed_one_starts_anew(sd_pipe):
    def explode(pipe, step, t, kwargs):
        raise RuntimeError("stop here")

    with guide(sd_pipe, "glasses", scale=5) as run:
        first = draw(sd_pipe)
        with pytest.raises(RuntimeError):
            draw(sd_pipe, callback_on_step_end=explode)
        second = draw(sd_pipe)
    assert np.array_equal(first, second)
    assert [r.guided_steps for r in run.reports] == [[1, 2, 3, 4], [1], [1, 2, 3, 4]]


def test_an_interrupted_generation_is_reported_as_far_as_it_got(sd_pipe):
    def interrupt(pipe, step, t, kwargs):
        pipe._interrupt = step >= 1
        return kwargs

    with guide(sd_pipe, "glasses") as run:
        draw(sd_pipe, callback_on_step_end=interrupt)
    assert run.report.guided_steps == [1, 2] and hooks(sd_pipe) == 0


def test_an_empty_window_is_a_warning(sd_pipe):
    plain = draw(sd_pipe)
    with (
        pytest.warns(NagWarning, match="No step is guided"),
        guide(sd_pipe, "glasses", start=0.3, end=0.4) as run,
    ):
        image = draw(sd_pipe)
    assert np.array_equal(image, plain) and run.report.summary().startswith("NAG did not act")


def test_a_block_without_a_generation_says_so(sd_pipe):
    with guide(sd_pipe, "glasses") as run:
        pass
    assert run.report.warnings == ["no generation has run yet"] and hooks(sd_pipe) == 0


def test_bad_input_is_named_before_anything_runs(sd_pipe):
    with pytest.raises(SettingsError, match="scale"):
        guide(sd_pipe, "glasses", scale=0)
    with pytest.raises(SettingsError, match="nag_scale"):
        guide(sd_pipe, "glasses", nag_scale=3)
    with pytest.raises(LayerError, match="d9"), guide(sd_pipe, "glasses", layers="d9"):
        pass
    with pytest.raises(TypeError, match="pipe is str"):
        guide("pipe", "glasses")
    with pytest.raises(ValueError, match="negative"):
        guide(sd_pipe, [])
    assert hooks(sd_pipe) == 0
