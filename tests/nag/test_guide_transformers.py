"""guide() on pipelines whose denoiser is a transformer with joint attention: Flux, Chroma, Stable Diffusion 3."""

import nag_pipelines
import numpy as np
import pytest
import torch
from nag_guided import ONE

from extras.nag import LayerError, guide
from extras.nag.hosts import diffusers_pipes
from extras.nag.hosts.diffusers import NagWarning
from extras.nag.taps import count_taps

KINDS = ("flux", "chroma", "sd3")


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {kind: getattr(nag_pipelines, kind)(folder / kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def pipe(request, pipes):
    return pipes[request.param]


def draw(pipe, prompt="a nerd", seed=0, **options):
    """Pictures as an array (n, height, width, 3); at CFG 1."""
    options = {
        "num_inference_steps": 4, "guidance_scale": 1.0, "height": 32, "width": 32, "max_sequence_length": 24,
    } | options  # fmt: skip
    count = len(prompt) if isinstance(prompt, list) else 1
    generators = [torch.Generator().manual_seed(seed + i) for i in range(count)]
    return pipe(prompt, generator=generators, output_type="np", **options).images


def hooks(pipe):
    return count_taps(pipe.transformer) + len(pipe.transformer._forward_pre_hooks)


@pytest.mark.parametrize("method", ["NAG", "NAG-PAG", "three-way"])
def test_each_method_acts_and_leaves_nothing(pipe, method):
    plain = draw(pipe)
    with guide(pipe, negative="glasses", **ONE[method]) as run:
        image = draw(pipe)
    assert list(run.methods) == [method] and run.report.acted and run.report.guided_steps == [1, 2, 3, 4]
    assert not run.report.warnings and not np.array_equal(image, plain)
    assert hooks(pipe) == 0 and np.array_equal(draw(pipe), plain)


def test_each_encoder_is_asked_once_for_the_negative(pipe):
    """No empty prompt beside it: a T5 takes longer than a step."""

    def passes(negative):
        asked, hooks = {}, []
        for name, part in pipe.components.items():
            if name.startswith("text_encoder"):
                count = lambda *_, name=name: asked.update({name: asked.get(name, 0) + 1})  # noqa: E731
                hooks.append(part.register_forward_hook(count))
        try:
            if negative is None:
                draw(pipe)
            else:
                with guide(pipe, negative=negative, scale=5):
                    draw(pipe)
        finally:
            for hook in hooks:
                hook.remove()
        return asked

    plain, guided = passes(None), passes("glasses")
    assert guided == {name: count + 1 for name, count in plain.items()} and plain


def test_the_time_is_read_once_a_generation(pipe, monkeypatch):
    """Each reading would wait for the GPU."""
    read, own = [], diffusers_pipes._first
    monkeypatch.setattr(diffusers_pipes, "_first", lambda value: read.append(1) or own(value))
    with guide(pipe, negative="glasses", scale=5) as run:
        draw(pipe)
        draw(pipe)
    assert len(read) == 2 and run.report.guided_steps == [1, 2, 3, 4]


def test_the_window_is_that_of_the_flow(pipe):
    with guide(pipe, negative="glasses", scale=5, unit="steps", start=0.25, end=0.75) as run:
        draw(pipe)
    assert run.report.guided_steps == [2, 3] and run.report.steps == 4
    with guide(pipe, negative="glasses", scale=5, unit="sigma", start=0, end=0.75) as run:
        draw(pipe)
    sigmas = pipe.scheduler.sigmas[:4].tolist()
    assert run.report.guided_steps == [i + 1 for i, sigma in enumerate(sigmas) if sigma > 0.75]


def test_a_batch_is_each_image_as_alone(pipe):
    prompts, negatives = ["a nerd", "a hat on pink"], ["glasses", "flowers"]
    on = {"scale": 5, "nag_pag_scale": 2, "three_way_scale": 3}
    with guide(pipe, negative=negatives, **on):
        together = draw(pipe, prompts)
    for i, (prompt, negative) in enumerate(zip(prompts, negatives, strict=True)):
        with guide(pipe, negative=negative, **on):
            alone = draw(pipe, prompt, seed=i)
        np.testing.assert_allclose(together[i], alone[0], atol=5e-4)


def test_with_cfg_the_unconditional_half_is_untouched(pipes):
    """In SD3 it is in the same call, in Flux a call of its own."""
    seen = {}

    def watch(name, key):
        def hook(module, args, kwargs, output):
            prompt = kwargs["encoder_hidden_states"]
            seen.setdefault((name, key), []).append((prompt.shape[0], output[0].clone()))

        return pipes[name].transformer.register_forward_hook(hook, with_kwargs=True)

    for name, cfg in (("flux", {"true_cfg_scale": 4.0, "negative_prompt": "hat"}), ("sd3", {"guidance_scale": 4.0})):
        pipe = pipes[name]
        handle = watch(name, "plain")
        draw(pipe, num_inference_steps=1, **cfg)
        handle.remove()
        handle = watch(name, "guided")
        with guide(pipe, negative="glasses", scale=5) as run:
            draw(pipe, num_inference_steps=1, **cfg)
        handle.remove()
        assert run.report.acted and run.report.guided_steps == [1]
    (cond, uncond), (cond_guided, uncond_guided) = (seen["flux", key] for key in ("plain", "guided"))
    assert torch.equal(uncond[1], uncond_guided[1]) and not torch.equal(cond[1], cond_guided[1])
    ((rows, plain),), ((_, guided),) = (seen["sd3", key] for key in ("plain", "guided"))
    assert rows == 2 and torch.equal(plain[0], guided[0]) and not torch.equal(plain[1], guided[1])


def test_several_generations_of_flux_with_cfg(pipes):
    with guide(pipes["flux"], negative="glasses", scale=5) as run:
        first = draw(pipes["flux"], true_cfg_scale=3.0, negative_prompt="hat")
        draw(pipes["flux"], num_inference_steps=2)
        second = draw(pipes["flux"], true_cfg_scale=3.0, negative_prompt="hat")
    assert [r.guided_steps for r in run.reports] == [[1, 2, 3, 4], [1, 2], [1, 2, 3, 4]]
    assert np.array_equal(first, second)


def test_the_cooldown_lowers_the_cfg_of_sd3_and_is_told_in_flux(pipes):
    seen = []

    def watch(pipe, step, t, kwargs):
        seen.append(pipe.guidance_scale)
        return kwargs

    window = {"unit": "steps", "end": 0.5, "cooldown": 0.5}
    with guide(pipes["sd3"], "glasses", **window):
        draw(pipes["sd3"], guidance_scale=5.0, callback_on_step_end=watch)
    assert seen == [5, 5, 4, 4] and pipes["sd3"].guidance_scale == 5
    with pytest.warns(NagWarning, match="no cooldown"), guide(pipes["flux"], "glasses", **window):
        draw(pipes["flux"])


def test_too_long_a_negative_is_told(pipe):
    with pytest.warns(NagWarning, match="longer than 24 tokens"), guide(pipe, "glasses " * 40) as run:
        draw(pipe, num_inference_steps=1)
    assert run.report.acted


def test_names_of_the_seed(pipe):
    with guide(pipe, nag=False, nag_pag_scale=3, nag_pag_layers="transformer_blocks.1.attn") as run:
        draw(pipe, num_inference_steps=1)
    assert list(run.report.per_layer) == ["transformer_blocks.1.attn"] and run.report.acted
    with (
        pytest.raises(LayerError, match=r"transformer_blocks.8.attn' matches nothing; this model has t0-t"),
        guide(pipe, nag=False, nag_pag_scale=3, nag_pag_layers="transformer_blocks.8.attn"),
    ):
        pass
    with pytest.raises(LayerError, match="tpg_scale"), guide(pipe, tpg_scale=3):
        pass
    assert hooks(pipe) == 0


def test_other_pipelines_are_refused():
    class LuminaPipeline:
        encode_prompt = scheduler = transformer = 1

    with pytest.raises(TypeError, match="pipe is LuminaPipeline; allowed: a Stable Diffusion, SDXL, Flux"):
        guide(LuminaPipeline())
