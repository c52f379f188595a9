"""guide() on pipelines that work in another way: those known are refused by name, and none is guided in wrong rows."""

import nag_pipelines
import nag_tiny
import pytest
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, StableDiffusionPanoramaPipeline, UNet2DConditionModel

from extras.nag import guide
from extras.nag.hosts.diffusers import NagWarning

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class OwnAnimation(AnimateDiffPipeline):
    """A pipeline of somebody's own: its name tells nothing."""


def animation(kind, folder):
    base = nag_pipelines.sd(folder)
    torch.manual_seed(5)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=nag_tiny.CONTEXT,
        norm_num_groups=2,
    )
    motion = MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=4
    )
    pipe = kind(base.vae, base.text_encoder, base.tokenizer, unet, motion, base.scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, scale):
    options = {"num_inference_steps": 2, "height": 32, "width": 32, "output_type": "latent"}
    generator = torch.Generator().manual_seed(0)
    return pipe("a nerd", num_frames=3, guidance_scale=scale, generator=generator, **options).frames


def test_frames_are_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"pipe is AnimateDiffPipeline: .*frames"):
        guide(animation(AnimateDiffPipeline, tmp_path), negative="glasses")


def test_times_that_begin_anew_in_every_step_are_refused_by_name(tmp_path):
    """Each step would be a generation of its own, and no window would be the user's."""
    base = nag_pipelines.sd(tmp_path)
    parts = (base.vae, base.text_encoder, base.tokenizer, base.unet, base.scheduler)
    pipe = StableDiffusionPanoramaPipeline(*parts, None, None, requires_safety_checker=False)
    with pytest.raises(TypeError, match=r"pipe is StableDiffusionPanoramaPipeline: .*anew in every step; allowed"):
        guide(pipe, negative="glasses")


def test_a_pipeline_that_does_not_tell_its_batch_is_refused_by_name(tmp_path):
    """Older ones keep it in a variable of their call."""

    class Old:
        unet = scheduler = object()

        def encode_prompt(self):
            pass

    with pytest.raises(TypeError, match=r"pipe is Old: it does not tell whether its batch is doubled; allowed"):
        guide(Old(), negative="glasses")


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_rows_that_are_not_the_calls_are_never_guided(tmp_path, scale):
    """The model makes rows x frames of its batch: which of them are conditional is not known."""
    pipe = animation(OwnAnimation, tmp_path)
    plain = draw(pipe, scale)
    with pytest.warns(NagWarning, match="layers could not be guided"), guide(pipe, negative="glasses", scale=5) as run:
        image = draw(pipe, scale)
    assert not run.report.acted and torch.equal(image, plain)
