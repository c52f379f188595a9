"""guide() beside an image prompt (IP-Adapter): the prompt's part alone is guided, what the image adds keeps its
strength."""

import nag_pipelines
import nag_tiny
import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import (
    AttnProcessor2_0,
    IPAdapterAttnProcessor2_0,
    SD3IPAdapterJointAttnProcessor2_0,
)
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from test_guide import draw, hooks

from extras.nag import guide
from extras.nag.hosts.diffusers import NagWarning
from extras.nag.hosts.diffusers_images import NOT_APART

WIDTH = 12  # of an image's embedding


class Adapter(torch.nn.Module):
    """As the authors of IP-Adapter wrote it: the image's tokens follow the text's, and the name tells little."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.to_k_ip = inner, inner.to_k_ip

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **more):
        text, image = encoder_hidden_states[:, :-4], encoder_hidden_states[:, -4:]
        return self.inner(attn, hidden_states, (text, [image[:, None]]), **more)


def prompted(pipe, strength=1.0, wrap=lambda processor: processor):
    """The pipeline with an IP-Adapter of random weights."""
    unet = pipe.unet
    torch.manual_seed(3)
    made = {}
    for name in unet.attn_processors:
        width = unet.get_submodule(name.rpartition(".")[0]).to_q.out_features
        adapter = IPAdapterAttnProcessor2_0(width, nag_tiny.CONTEXT, num_tokens=(4,), scale=[strength])
        made[name] = wrap(adapter) if "attn2" in name else AttnProcessor2_0()
    unet.set_attn_processor(made)
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([ImageProjection(WIDTH, nag_tiny.CONTEXT, 4)]).eval()
    unet.register_to_config(encoder_hid_dim_type="ip_image_proj")
    return pipe


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def pipe(request, tmp_path_factory):
    return prompted(getattr(nag_pipelines, request.param)(tmp_path_factory.mktemp("tokenizer")))


def picture(pipe, prompt="a nerd", guidance_scale=1.0, **options):
    one = torch.ones(1, 1, WIDTH)
    embeds = one if guidance_scale == 1 else torch.cat([torch.zeros_like(one), one])
    return draw(pipe, prompt, guidance_scale=guidance_scale, ip_adapter_image_embeds=[embeds], **options)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_a_negative_equal_to_the_prompt_changes_nothing(pipe, scale):
    plain = picture(pipe, guidance_scale=scale)
    with guide(pipe, negative="a nerd", scale=5) as run:
        image = picture(pipe, guidance_scale=scale)
    assert run.report.acted and run.report.mean_change < 1e-4 and not run.report.warnings
    np.testing.assert_allclose(image, plain, atol=5e-5)
    assert hooks(pipe) == 0 and np.array_equal(picture(pipe, guidance_scale=scale), plain)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_another_negative_is_guided_from_in_its_window(pipe, scale):
    plain = picture(pipe, guidance_scale=scale)
    with guide(pipe, negative="glasses", scale=5, start=0.17, end=0.5) as run:
        image = picture(pipe, guidance_scale=scale)
    assert run.report.guided_steps == [2, 3] and run.report.mean_change > 0.01 and not run.report.warnings
    assert np.abs(image - plain).max() > 1e-5 and hooks(pipe) == 0


def test_a_batch_is_each_image_as_alone(pipe):
    prompts, negatives = ["a nerd", "a hat on pink"], ["glasses", "flowers"]
    with guide(pipe, negative=negatives, scale=5):
        together = picture(pipe, prompts, guidance_scale=5.0)
    for i, (prompt, negative) in enumerate(zip(prompts, negatives, strict=True)):
        with guide(pipe, negative=negative, scale=5):
            alone = picture(pipe, prompt, guidance_scale=5.0, seed=i)
        np.testing.assert_allclose(together[i], alone[0], atol=2e-4)


def test_what_the_image_adds_keeps_its_strength(tmp_path):
    """In the first layer, whose queries no image prompt has touched: guidance adds the same beside any of them."""
    pipe = nag_pipelines.sd(tmp_path)
    seen = []
    attn = pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2

    def added(strength):
        prompted(pipe, strength)
        seen.clear()
        picture(pipe, num_inference_steps=1)
        with guide(pipe, negative="glasses", scale=5, layers="d0"):
            picture(pipe, num_inference_steps=1)
        return seen[0], seen[1] - seen[0]

    handle = attn.to_out[0].register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    try:
        (without, expected), (beside, found) = added(0.0), added(3.0)
    finally:
        handle.remove()
    assert not torch.allclose(without, beside, atol=1e-3) and expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_an_image_whose_tokens_follow_the_texts(tmp_path):
    pipe = nag_pipelines.sd(tmp_path)
    text = pipe.encode_prompt("a nerd", "cpu", 1, False)[0]
    pipe = prompted(pipe, wrap=Adapter)
    pipe.unet.encoder_hid_proj, pipe.unet.config.encoder_hid_dim_type = None, None
    joined = {"prompt_embeds": torch.cat([text, torch.randn(1, 4, nag_tiny.CONTEXT)], dim=1)}
    plain = draw(pipe, None, **joined)
    with guide(pipe, negative="a nerd", scale=5):
        same = draw(pipe, None, **joined)
    with guide(pipe, negative="glasses", scale=5) as run:
        other = draw(pipe, None, **joined)
    np.testing.assert_allclose(same, plain, atol=5e-5)
    assert not run.report.warnings and np.abs(other - plain).max() > 1e-4


def test_where_the_text_is_not_found_it_is_told(pipe, monkeypatch):
    monkeypatch.setattr("extras.nag.text_part._NAMES", ())
    with pytest.warns(NagWarning, match="what the image prompt adds"), guide(pipe, negative="glasses", scale=5) as run:
        picture(pipe, num_inference_steps=1)
    assert run.report.warnings == [NOT_APART.format(count=run.report.layers)]


def test_without_an_image_prompt_nothing_is_done_for_one(tmp_path):
    pipe = nag_pipelines.sd(tmp_path)
    with guide(pipe, negative="glasses", scale=5) as run:
        draw(pipe, num_inference_steps=1)
        assert not run._run.runs[0]._parts


# -- transformers ---


def test_where_sd3_mixes_both_it_is_told(tmp_path):
    pipe = nag_pipelines.sd3(tmp_path)
    torch.manual_seed(3)
    for block in pipe.transformer.transformer_blocks:
        block.attn.set_processor(SD3IPAdapterJointAttnProcessor2_0(32, 8, 16, timesteps_emb_dim=8))
    images = {"ip_hidden_states": torch.ones(1, 4, 8), "temb": torch.ones(1, 8)}
    with pytest.warns(NagWarning, match="of 3 layers is guided too"), guide(pipe, negative="a nerd", scale=5) as run:
        draw(pipe, num_inference_steps=1, joint_attention_kwargs=images)
    assert run.report.warnings == [NOT_APART.format(count=3)]


def test_flux_adds_the_image_after_what_is_guided(tmp_path):
    pipe = nag_pipelines.flux(tmp_path)
    without = draw(pipe, num_inference_steps=2)
    torch.manual_seed(3)
    for block in pipe.transformer.transformer_blocks:
        block.attn.set_processor(FluxIPAdapterAttnProcessor(32, 8, scale=[1.0]))

    def with_image():
        images = {"ip_hidden_states": [torch.ones(1, 4, 8)]}
        return draw(pipe, num_inference_steps=2, joint_attention_kwargs=images)

    plain = with_image()
    with guide(pipe, negative="a nerd", scale=5) as run:
        image = with_image()
    assert run.report.acted and run.report.mean_change < 1e-4 and not run.report.warnings
    np.testing.assert_allclose(image, plain, atol=5e-5)
    assert not np.allclose(plain, without, atol=1e-4)
