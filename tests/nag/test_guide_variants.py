"""guide() in the variants of a pipeline: image to image, inpainting, ControlNet, LoRA, callbacks, weights that are
brought to the device when they are called."""

import nag_pipelines
import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    HeunDiscreteScheduler,
    SD3ControlNetModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
)
from PIL import Image

from extras.nag import guide
from extras.nag.taps import count_taps

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
SIZE = 32


def picture(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8))


def mask():
    half = np.zeros((SIZE, SIZE), np.uint8)
    half[:, SIZE // 2 :] = 255
    return Image.fromarray(half)


def control(unet):
    torch.manual_seed(21)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    for block in net.controlnet_down_blocks:  # as published they begin at zero, and do nothing
        torch.nn.init.normal_(block.weight, std=0.05)
    return net.eval()


def flux_control(transformer):
    torch.manual_seed(22)
    net = FluxControlNetModel.from_transformer(
        transformer, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2
    )
    for block in (*net.controlnet_blocks, *net.controlnet_single_blocks):
        torch.nn.init.normal_(block.weight, std=0.05)
    return net.eval()


def sd3_control(transformer):
    torch.manual_seed(23)
    net = SD3ControlNetModel.from_transformer(transformer, num_layers=1, num_extra_conditioning_channels=0)
    for block in net.controlnet_blocks:
        torch.nn.init.normal_(block.weight, std=0.05)
    return net.eval()


HINT = {"controlnet": control}
INIT = {"image": picture(), "strength": 0.75}
PAINT = {**INIT, "mask_image": mask()}
# name -> (base, what it becomes, its parts beside the base's, arguments of a call, steps that are drawn)
VARIANTS = {
    "SD image": ("sd", StableDiffusionImg2ImgPipeline, {}, INIT, 3),
    "SD inpaint": ("sd", StableDiffusionInpaintPipeline, {}, PAINT, 3),
    "SD ControlNet": ("sd", StableDiffusionControlNetPipeline, HINT, {"image": picture(1)}, 4),
    "SD ControlNet image": (
        "sd", StableDiffusionControlNetImg2ImgPipeline, HINT, {**INIT, "control_image": picture(1)}, 3
    ),
    "SDXL image": ("sdxl", StableDiffusionXLImg2ImgPipeline, {}, INIT, 3),
    "SDXL inpaint": ("sdxl", StableDiffusionXLInpaintPipeline, {}, PAINT, 3),
    "SDXL ControlNet": ("sdxl", StableDiffusionXLControlNetPipeline, HINT, {"image": picture(1)}, 4),
    "SD3 image": ("sd3", StableDiffusion3Img2ImgPipeline, {}, INIT, 3),
    "SD3 ControlNet": (
        "sd3", StableDiffusion3ControlNetPipeline, {"controlnet": sd3_control}, {"control_image": picture(1)}, 4
    ),
    "Flux image": ("flux", FluxImg2ImgPipeline, {}, INIT, 3),
    "Flux inpaint": ("flux", FluxInpaintPipeline, {}, PAINT, 3),
    "Flux ControlNet": ("flux", FluxControlNetPipeline, {"controlnet": flux_control}, {"control_image": picture(1)}, 4),
}  # fmt: skip


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    made = {}

    def base(name):
        if name not in made:
            made[name] = getattr(nag_pipelines, name)(tmp_path_factory.mktemp(name))
        return made[name]

    return base


@pytest.fixture(params=VARIANTS)
def variant(request, bases):
    """(pipeline, arguments of a call, steps)."""
    name, kind, more, arguments, steps = VARIANTS[request.param]
    base = bases(name)
    denoiser = getattr(base, "unet", None) or base.transformer
    pipe = kind.from_pipe(base, **{part: make(denoiser) for part, make in more.items()})
    pipe.set_progress_bar_config(disable=True)
    return pipe, arguments, steps


def draw(pipe, seed=0, **arguments):
    generator = torch.Generator().manual_seed(seed)
    options = {"num_inference_steps": 4, "guidance_scale": 1.0, "height": SIZE, "width": SIZE, **arguments}
    return pipe(prompt="a nerd", generator=generator, output_type="np", **options).images


@pytest.mark.parametrize("name", ["SD image", "SDXL inpaint"])
@pytest.mark.parametrize("strength", [0.25, 0.5, 0.75, 1.0])
def test_a_second_order_scheduler_may_begin_at_the_second_of_two_times(bases, name, strength):
    base, kind, _, arguments, _ = VARIANTS[name]
    pipe = kind.from_pipe(bases(base), scheduler=HeunDiscreteScheduler(num_train_timesteps=1000))
    pipe.set_progress_bar_config(disable=True)
    times, guided = [], []
    unet, attn = pipe.unet, pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    handles = [
        unet.register_forward_pre_hook(lambda m, args, kwargs: times.append(float(args[1])), with_kwargs=True),
        attn.to_out[0].register_forward_pre_hook(lambda *_: guided.append(count_taps(unet) > 0)),
    ]
    try:
        with guide(pipe, negative="glasses", scale=5, unit="sigma", start=20, end=0.5):
            draw(pipe, num_inference_steps=8, **{**arguments, "strength": strength})
    finally:
        for handle in handles:
            handle.remove()
    sigma = dict(zip(pipe.scheduler.timesteps.tolist(), pipe.scheduler.sigmas.tolist(), strict=False))
    assert guided == [0.5 < sigma[time] <= 20 for time in times]


def denoiser_of(pipe):
    return getattr(pipe, "unet", None) or pipe.transformer


def test_each_variant_is_guided_in_the_steps_it_draws(variant):
    pipe, arguments, steps = variant
    plain = draw(pipe, **arguments)
    with guide(pipe, negative="glasses", scale=5) as run:
        image = draw(pipe, **arguments)
    assert run.report.guided_steps == list(range(1, steps + 1)) and run.report.calls == steps * run.report.layers
    assert run.report.mean_change > 1e-3 and not run.report.warnings
    assert np.abs(image - plain).max() > 1e-5
    assert count_taps(denoiser_of(pipe)) == 0 and np.array_equal(draw(pipe, **arguments), plain)


def test_a_negative_equal_to_the_prompt_changes_nothing(variant):
    pipe, arguments, _ = variant
    plain = draw(pipe, **arguments)
    with guide(pipe, negative="a nerd", scale=5) as run:
        image = draw(pipe, **arguments)
    assert run.report.calls
    np.testing.assert_allclose(image, plain, atol=2e-5)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux", "chroma"])
def test_weights_that_come_when_they_are_called(name, tmp_path):
    """As enable_sequential_cpu_offload() does it, with the CPU in the GPU's place: between calls there are none."""
    accelerate = pytest.importorskip("accelerate", reason="offloading is accelerate's")
    pipe = getattr(nag_pipelines, name)(tmp_path / name)
    plain = draw(pipe)
    with guide(pipe, negative="glasses", scale=5, nag_pag_scale=2) as run:
        wanted = draw(pipe)
    accelerate.cpu_offload(denoiser_of(pipe), execution_device="cpu", offload_buffers=False)
    assert next(denoiser_of(pipe).parameters()).is_meta
    np.testing.assert_allclose(draw(pipe), plain, atol=1e-6)
    with guide(pipe, negative="glasses", scale=5, nag_pag_scale=2) as offloaded:
        image = draw(pipe)
    assert offloaded.report.calls == run.report.calls
    np.testing.assert_allclose(image, wanted, atol=1e-5)


def test_a_lora_of_peft_is_guided_with_it(tmp_path):
    peft = pytest.importorskip("peft", reason="diffusers' LoRAs are peft's")
    pipe = nag_pipelines.sd(tmp_path)
    torch.manual_seed(5)
    config = peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False)
    pipe.unet.add_adapter(config, "some")
    plain = draw(pipe)
    with guide(pipe, negative="glasses", scale=5) as run:
        image = draw(pipe)
    pipe.unet.set_adapter("some")
    pipe.unet.disable_adapters()
    with guide(pipe, negative="glasses", scale=5):
        without = draw(pipe)
    assert run.report.calls == 64 and not np.array_equal(image, plain) and not np.array_equal(image, without)
    pipe.unet.enable_adapters()
    assert np.array_equal(draw(pipe), plain)


def test_callbacks_are_called_as_ever(tmp_path):
    pipe = nag_pipelines.sd(tmp_path)
    seen = []

    def step_end(pipe, step, timestep, tensors):
        seen.append((step, int(timestep), sorted(tensors)))
        return {"latents": tensors["latents"] * 0.9}

    told = {"callback_on_step_end": step_end, "callback_on_step_end_tensor_inputs": ["latents"]}
    plain = draw(pipe, **told)
    without, seen[:] = list(seen), []
    with guide(pipe, negative="glasses", scale=5) as run:
        image = draw(pipe, **told)
    assert seen == without and len(seen) == 4 and run.report.calls == 64
    assert not np.array_equal(image, plain) and np.array_equal(draw(pipe, **told), plain)
