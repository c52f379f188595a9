"""guide() where models come to the device one by one: the negative is encoded before the denoiser runs."""

import nag_pipelines
import numpy as np
import pytest
import torch

from extras.nag import guide
from extras.nag.hosts.diffusers import NagWarning

KINDS = ["sd", "sdxl", "sd3", "flux", "chroma"]
OFF = {"start": 0.4}  # of the noise: the first two of four steps are not guided


def watched(pipe):
    """The order in which text encoders and denoiser run."""
    order = []
    encoders = [getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
    for module in filter(None, encoders):
        module.register_forward_hook(lambda *_: order.append("text"))
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    denoiser.register_forward_hook(lambda *_: order.append("picture"))
    return order


def draw(pipe, prompt="a nerd", **options):
    options = {"num_inference_steps": 4, "guidance_scale": 1.0, "height": 32, "width": 32, **options}
    count = len(prompt) if isinstance(prompt, list) else 1
    generators = [torch.Generator().manual_seed(i) for i in range(count)]
    return pipe(prompt, generator=generators, output_type="np", **options).images


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_encoded_once_the_denoiser_is_there(kind, tmp_path):
    pipe = getattr(nag_pipelines, kind)(tmp_path)
    order = watched(pipe)
    draw(pipe)
    of_prompt = order.index("picture")
    order.clear()
    with guide(pipe, negative="glasses", scale=5, **OFF) as run:
        draw(pipe)
    assert run.report.acted and 1 not in run.report.guided_steps
    first = order.index("picture")
    assert first >= 2 * of_prompt and order[first:] == ["picture"] * 4


def test_each_generation_encodes_its_own(tmp_path):
    pipe = nag_pipelines.sd(tmp_path)
    order = watched(pipe)
    with guide(pipe, negative=["glasses", "hat"], scale=5, **OFF):
        draw(pipe, ["a nerd", "flowers"])
        draw(pipe, ["a nerd", "flowers"])
    assert order == (["text"] * 3 + ["picture"] * 4) * 2


def test_images_have_the_negatives_they_had(tmp_path):
    pipe = nag_pipelines.sd(tmp_path)
    with guide(pipe, negative=["glasses", "hat"], scale=5, **OFF):
        together = draw(pipe, ["a nerd", "a nerd"])
    with guide(pipe, negative="glasses", scale=5, **OFF):
        alone = draw(pipe)
    np.testing.assert_allclose(together[0], alone[0], atol=2e-4)
    with pytest.raises(ValueError, match="2 texts for 1 images"), guide(pipe, negative=["glasses", "hat"], **OFF):
        draw(pipe)


@pytest.mark.filterwarnings("ignore::extras.nag.hosts.diffusers.NagWarning")
@pytest.mark.parametrize(
    ("negative", "options"),
    [("glasses", {"start": 0.3, "end": 0.4}), ("", {"empty_negative": "skip"}), ("", {"nag": False, "pag_scale": 2})],
)
def test_where_no_step_wants_it_nothing_is_encoded(tmp_path, negative, options):
    pipe = nag_pipelines.sd(tmp_path)
    order = watched(pipe)
    with guide(pipe, negative=negative, **options):
        draw(pipe)
    assert order.count("text") == 1 and order[0] == "text"


def test_the_pipelines_own_negative_is_that_of_the_guided_step(tmp_path):
    """A callback may change it while the picture is made."""
    pipe = nag_pipelines.sd(tmp_path)
    other = pipe.encode_prompt("hat", "cpu", 1, False)[0]
    order = watched(pipe)

    def change(pipe, step, t, tensors):
        return {"prompt_embeds": torch.cat([other, tensors["prompt_embeds"][1:]])}

    told = {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    with guide(pipe, empty_negative="host", scale=5, **OFF):
        borrowed = draw(pipe, guidance_scale=4.0, **told)
    assert order.count("text") == 2
    with guide(pipe, "hat", scale=5, **OFF):
        own = draw(pipe, guidance_scale=4.0, **told)
    np.testing.assert_allclose(borrowed, own, atol=1e-5)


def test_what_the_encoder_cuts_is_told_once(tmp_path):
    pipe = nag_pipelines.sd(tmp_path)
    with pytest.warns(NagWarning, match="cut") as told, guide(pipe, negative="x" * 200, **OFF):
        draw(pipe)
    assert len(told) == 1
