"""Flux, SD3 and Chroma as folders in diffusers' layout: the Studio's picture is the pipeline's, guidance acts, what is
not safe or not known is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from front_helpers import model_calls

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "nag"))  # the maker of tiny pipelines

KINDS = ("flux", "flux-dev", "sd3", "chroma")
FIELDS = {
    "prompt": "nerd glasses", "steps": 4, "width": 64, "height": 64, "cfg_scale": 1, "seed": 71,
    "sampler_name": "Euler", "scheduler": "Simple",
}  # fmt: skip
HAT = {"enabled": True, "negative": "pink hat on flowers", "scale": 8, "alpha": 0.75}
SHIFTED = {"shift": 3.0}
DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}


def tiny(kind, folder):
    """A pipeline whose pictures are 8 times its latents, as the published ones' are."""
    import nag_pipelines
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    pipe = getattr(nag_pipelines, kind.partition("-")[0])(folder)
    torch.manual_seed(16)
    pipe.vae = AutoencoderKL(
        block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=4, shift_factor=0.1, scaling_factor=0.7,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()  # fmt: skip
    pipe.vae_scale_factor = 8
    pipe.image_processor.config["vae_scale_factor"] = 8
    if kind == "flux-dev":
        pipe.transformer = FluxTransformer2DModel(**{**pipe.transformer.config, "guidance_embeds": True}).eval()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(**{"flux-dev": DYNAMIC, "sd3": SHIFTED}.get(kind, {}))
    return pipe


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    return {kind: tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def engine(front_models, pipes, tmp_path_factory):
    """One Studio with all of them in its models folder."""
    from extras.studio.engine import Engine

    models = tmp_path_factory.mktemp("folders")
    (models / "tokenizer").symlink_to(ROOT / "models" / "tokenizer")
    (models / "alpha.safetensors").symlink_to(front_models / "alpha.safetensors")
    for kind, pipe in pipes.items():
        pipe.save_pretrained(models / kind)
    engine = Engine(models, ROOT, tmp_path_factory.mktemp("folders-out"), ckpt=models / "flux").load()
    assert sorted(t.split(" [")[0] for t in engine.checkpoint_titles()) == sorted(["alpha.safetensors", *KINDS])
    return engine


@pytest.fixture(params=KINDS)
def kind(request, engine):
    engine.set_checkpoint(request.param)
    return request.param


@pytest.fixture
def nerd(draw):
    return lambda values=None, **fields: draw(values, **{**FIELDS, **fields})


def test_the_picture_is_the_pipelines(kind, nerd, pipes):
    with model_calls() as calls:
        drawn = nerd().pixels[0]
    pipe, noise = pipes[kind], calls[0][0][:1]
    if kind != "sd3":
        noise = pipe._pack_latents(noise, 1, 4, 8, 8)
    room = {"flux": 256, "flux-dev": 512, "sd3": 256, "chroma": 512}[kind]
    more = {"guidance_scale": 3.5 if kind == "flux-dev" else 1.0, "max_sequence_length": room}
    size = {"width": 64, "height": 64, "sigmas": [1, 0.75, 0.5, 0.25], "output_type": "np"}
    wanted = pipe(FIELDS["prompt"], latents=noise, num_inference_steps=4, **size, **more).images[0] * 255
    assert np.abs(drawn - wanted).max() <= 2
    assert wanted.std() > 1, "a picture, not a plain"


@pytest.mark.parametrize("values", [{}, {"nag": False, "nag_pag_scale": 3}, {"three_way_scale": 3}])
def test_guidance_acts_and_leaves_nothing(kind, nerd, values):
    plain, guided = nerd(), nerd({**HAT, **values})
    assert not guided.same(plain)
    for report in guided.reports.values():
        if "calls" in report:
            assert report["calls"] > 0 and report["mean_change"] > 0 and not report["warnings"] and not report["error"]
    assert nerd().same(plain)
    same = nerd({**HAT, **values, "negative": FIELDS["prompt"]}) if not values else plain
    assert np.abs(same.pixels[0].astype(int) - plain.pixels[0]).max() <= 1, "a negative equal to the prompt"


def test_cfg_and_batches_and_img2img(kind, nerd):
    from PIL import Image

    pair = nerd(HAT, cfg_scale=3, negative_prompt="hat", batch_size=2)
    assert len(pair.pixels) == 2 and pair.report["calls"]
    again = nerd(HAT, init_images=[Image.fromarray(pair.pixels[0].astype(np.uint8))], denoising_strength=0.5)
    assert again.report["calls"] and not again.report["error"]


def test_weights_are_taken_out_and_it_says_so(kind, nerd):
    weighted = nerd(prompt="(nerd:1.5) glasses")
    assert weighted.same(nerd()) and "have no effect with this model" in weighted.comments


def test_a_lora_acts_and_what_does_not_fit_is_told(kind, nerd, engine):
    from safetensors.torch import save_file

    from modules import shared

    layer = shared.sd_model.model.diffusion_model.transformer_blocks[0].attn.to_q
    factors = torch.randn(2, layer.in_features), torch.randn(layer.out_features, 2)
    names = ("transformer.transformer_blocks.0.attn.to_q", "transformer.transformer_blocks.99.attn.to_q")
    lora = {f"{n}.lora_{ab}.weight": x.clone() for n in names for ab, x in zip("AB", factors, strict=True)}
    folder = engine.models_dir / "Lora"
    folder.mkdir(exist_ok=True)
    save_file(lora, folder / "some.safetensors")
    plain, drawn = nerd(), nerd(prompt=FIELDS["prompt"] + " <lora:some:1>")
    assert not drawn.same(plain) and "1 of its 2 parts do not fit here" in drawn.comments
    assert nerd().same(plain)


def test_the_size_must_fit_the_tokens(kind, nerd):
    from extras.studio.fields import FieldError

    with pytest.raises(FieldError, match=r"width: 72.*multiple of 16"):
        nerd(width=72)


def test_layers_are_listed(engine, capsys):
    from extras.studio.commands import layers

    assert layers.main(["--ckpt", str(engine.models_dir / "flux")]) == 0
    assert "s2" in capsys.readouterr().out


def test_dynamic_shifts_follow_the_size(pipes):
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    from extras.studio.flow_pipelines import shift_of

    scheduler = pipes["flux-dev"].scheduler
    for edge in (512, 768, 1024):
        scheduler.set_timesteps(sigmas=[1.0, 0.7, 0.2], mu=calculate_shift(edge * edge // 256))
        m = shift_of(scheduler.config, edge * edge)
        ours = [m * s / (1 + (m - 1) * s) for s in (1.0, 0.7, 0.2)]
        assert ours == pytest.approx(scheduler.sigmas[:3].tolist(), abs=1e-6)
    assert shift_of(pipes["sd3"].scheduler.config, 1) == 3.0


@pytest.fixture
def copy(engine, tmp_path):
    """copy(**index): the Flux folder with another model_index.json."""
    import shutil

    def make(**index):
        folder = tmp_path / "mine"
        shutil.copytree(engine.models_dir / "flux", folder)
        known = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(known | index))
        return folder

    return make


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"_class_name": "StableCascadeDecoderPipeline"}, "it is a folder for 'StableCascadeDecoderPipeline'"),
        ({"transformer": ["my_code", "Transformer"]}, "wants code from 'my_code'"),
        ({"../../vae": ["diffusers", "AutoencoderKL"]}, "lies outside the folder"),
        ({"_class_name": None}, "it is a folder for None"),
    ],
)
def test_what_is_not_known_or_not_safe_is_refused(engine, copy, index, says):
    from extras.studio import flow_pipelines
    from extras.studio.checkpoint_files import CheckpointError

    with pytest.raises(CheckpointError, match=says) as told:
        flow_pipelines.load(copy(**index))
    assert "in diffusers' layout" in str(told.value)


def test_pickled_weights_are_never_read(engine, copy):
    from extras.studio import flow_pipelines
    from extras.studio.checkpoint_files import CheckpointError

    folder = copy()
    weights = next((folder / "text_encoder_2").glob("*.safetensors"))
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(CheckpointError, match="cannot be opened"):
        flow_pipelines.load(folder)
    weights = next((folder / "vae").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match=r"its vae has no \.safetensors file"):
        flow_pipelines.load(folder)


def test_a_flow_does_not_refine_another_kind(engine, draw):
    from extras.studio.fields import FieldError

    engine.set_checkpoint("sd3")
    with pytest.raises(FieldError, match=r"refiner_checkpoint: 'alpha'.*a flow model"):
        draw(**FIELDS, refiner_checkpoint="alpha", refiner_switch_at=0.5)
