"""The guider for diffusers' modular pipelines: what guide() gives on the same SDXL, at CFG 1 and beside CFG."""

import nag_pipelines
import numpy as np
import pytest
import torch
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.modular_pipelines import StableDiffusionXLAutoBlocks

from extras.nag import SettingsError, guide
from extras.nag.hosts.diffusers import NagWarning
from extras.nag.hosts.diffusers_guider import NormalizedAttentionGuider
from extras.nag.taps import count_taps

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    """(SDXL as a pipeline, the same as a modular one)."""
    base = nag_pipelines.sdxl(tmp_path_factory.mktemp("tokenizer"))
    modular = StableDiffusionXLAutoBlocks().init_pipeline()
    modular.update_components(**{name: getattr(base, name) for name in PARTS})
    modular.set_progress_bar_config(disable=True)
    return base, modular


def draw(pipe, guider, seed=0, **more):
    pipe.update_components(guider=guider)
    options = {"num_inference_steps": 4, "height": 32, "width": 32, **more}
    generator = torch.Generator().manual_seed(seed)
    return pipe(prompt="a nerd", generator=generator, output="images", output_type="np", **options)


def plain(pipe, scale=1.0, **more):
    return draw(pipe, ClassifierFreeGuidance(guidance_scale=scale), **more)


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("window", [(0.0, 1.0), (0.25, 0.75)])
def test_it_is_guide_on_the_same_model(pipes, cfg, window):
    base, modular = pipes
    host = {"negative_prompt": "glasses"}
    options = {"num_inference_steps": 4, "height": 32, "width": 32, "output_type": "np", "guidance_scale": cfg, **host}
    strong = {"scale": 15, "tau": 8, "alpha": 1}
    with guide(base, "glasses", **strong, unit="steps", start=window[0], end=window[1]) as run:
        wanted = base("a nerd", generator=torch.Generator().manual_seed(0), **options).images
    guider = NormalizedAttentionGuider(**strong, begin=window[0], end=window[1], guidance_scale=cfg)
    found = draw(modular, guider, **host)
    assert guider.report.guided_steps == run.report.guided_steps and guider.report.calls == run.report.calls
    assert guider.report.mean_change == pytest.approx(run.report.mean_change, rel=1e-3)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.abs(found - plain(modular, cfg, **host)).max() > 2e-5, "and not the unguided one"


def test_nothing_stays_and_the_next_one_is_as_the_first(pipes):
    _, modular = pipes
    before = plain(modular)
    guider = NormalizedAttentionGuider(scale=5)
    first = draw(modular, guider, negative_prompt="glasses")
    other = draw(modular, guider, negative_prompt="a hat")
    assert np.array_equal(draw(modular, guider, negative_prompt="glasses"), first)
    assert not np.array_equal(other, first) and len(guider.reports) == 3
    assert count_taps(modular.unet) == 0 and np.array_equal(plain(modular), before)
    guider.disable()
    assert np.array_equal(draw(modular, guider, negative_prompt="glasses"), before)


def test_a_batch_is_each_picture_as_alone(pipes):
    _, modular = pipes
    guider = NormalizedAttentionGuider(scale=5)
    both = draw(modular, guider, negative_prompt="glasses", num_images_per_prompt=2)
    assert both.shape[0] == 2 and guider.report.calls == 4 * 70
    np.testing.assert_allclose(both[:1], draw(modular, guider, negative_prompt="glasses"), atol=1e-5)


def test_a_negative_equal_to_the_prompt_changes_nothing(pipes):
    _, modular = pipes
    guider = NormalizedAttentionGuider(scale=5)
    np.testing.assert_allclose(draw(modular, guider, negative_prompt="a nerd"), plain(modular), atol=1e-5)
    assert guider.report.calls


def test_a_generation_that_fails_leaves_nothing(pipes):
    _, modular = pipes
    before = plain(modular)
    guider = NormalizedAttentionGuider(scale=5)

    def fail(module, args):
        raise RuntimeError("in a layer")

    handle = modular.unet.mid_block.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="in a layer"):
            draw(modular, guider, negative_prompt="glasses")
    finally:
        handle.remove()
    assert np.array_equal(plain(modular), before), "its hooks know no rows"
    draw(modular, guider, negative_prompt="glasses")
    assert count_taps(modular.unet) == 0 and guider.report.calls == 4 * 70


def test_an_empty_window_is_told_and_bad_numbers_are_named(pipes):
    _, modular = pipes
    with pytest.warns(NagWarning):
        image = draw(modular, NormalizedAttentionGuider(scale=5, begin=0.98, end=0.99), negative_prompt="glasses")
    assert np.array_equal(image, plain(modular))
    with pytest.raises(SettingsError, match="tau"):
        NormalizedAttentionGuider(tau=0.5)


def test_it_is_made_again_from_its_settings():
    guider = NormalizedAttentionGuider(scale=5, end=0.5)
    assert guider.new(alpha=0.25).settings == guider.settings.merged({"alpha": 0.25})
