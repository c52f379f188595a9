"""The doodle in Flux's layout, drawn in the Studio: the pipeline's pictures, guidance that deletes, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from front_helpers import model_calls

from extras.doodle import detect, flux_checkpoint
from extras.doodle.flux_model import euler

ROOT = Path(__file__).resolve().parents[2]
FLUX = ROOT / "models" / "flux" / "doodle-flux.safetensors"
FIELDS = {
    "prompt": "a king on a teal background", "steps": 4, "width": 128, "height": 128, "cfg_scale": 1, "seed": 71,
    "sampler_name": "Euler", "scheduler": "Simple", "do_not_save_samples": True, "do_not_save_grid": True,
}  # fmt: skip
CROWN = {"enabled": True, "negative": "crown", "scale": 8, "alpha": 0.75}


@pytest.fixture(scope="module")
def engine(front_models, tmp_path_factory):
    from extras.studio.engine import Engine

    return Engine(front_models, ROOT, tmp_path_factory.mktemp("flux-out"), ckpt=FLUX).load()


@pytest.fixture
def king(draw):
    """king(values, **fields): the doodle's king."""
    return lambda values=None, **fields: draw(values, **{**FIELDS, **fields})


def test_the_picture_is_the_pipelines(king):
    with model_calls() as calls:
        drawn = king().pixels[0]
    assert [round(float(t[0])) for _, t in calls] == [1000, 750, 500, 250]
    model, vae = flux_checkpoint.read(FLUX)
    with torch.no_grad():
        latent = euler(model, calls[0][0][:1], model.encode([FIELDS["prompt"]]), 4)[-1]
        plain = vae.decode(latent / vae.config.scaling_factor).sample[0]
    wanted = ((plain.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    assert np.abs(drawn - wanted).max() <= 2


def test_nag_deletes_the_crown_and_reports(king):
    plain, guided = king(), king(CROWN)
    before, after = (drawn.pixels[0].astype(np.uint8) for drawn in (plain, guided))
    assert detect.has(before, "crown") and not detect.has(after, "crown") and detect.subject_kept(after, "king")
    assert guided.report["guided_steps"] == [1, 2, 3, 4] and not guided.report["warnings"]
    assert king().same(plain), "nothing of it stays"


@pytest.mark.parametrize("values", [{"nag": False, "nag_pag_scale": 3}, {"own_image": True}, {"three_way_scale": 3}])
def test_other_methods_beside_cfg(king, values):
    cfg = {"cfg_scale": 2, "negative_prompt": "crown"}
    drawn = king({**CROWN, **values}, **cfg)
    assert not drawn.same(king(**cfg)) and not drawn.same(king(CROWN, **cfg))
    assert all(not report["warnings"] and not report["error"] for report in drawn.reports.values() if "calls" in report)


def test_what_is_for_unets_says_so(king):
    assert "transformer with joint attention" in king({**CROWN, "tpg_scale": 3}).comments


@pytest.mark.parametrize("sampler", ["Heun", "DPM++ 2M", "LMS", "DPM2"])
def test_samplers_that_add_no_noise_agree_with_many_steps(king, sampler):
    many, other = king(steps=24), king(steps=24, sampler_name=sampler)
    assert np.abs(other.pixels - many.pixels).mean() < 12


@pytest.mark.parametrize("sampler", ["Euler a", "LCM", "DDIM", "DPM++ SDE"])
def test_the_others_are_refused(king, sampler):
    from modules.sd_samplers import UnknownName

    with pytest.raises(UnknownName, match=r"does not fit a flow model; allowed are: Euler, Heun"):
        king(sampler_name=sampler)


def test_image_to_image_keeps_more_the_weaker_it_is(king):
    first = king()
    image, apart = first.images[0], []
    for strength in (0.3, 0.9):
        again = king(init_images=[image], denoising_strength=strength, seed=5, prompt="a king", steps=8)
        apart.append(np.abs(again.pixels - first.pixels).mean())
    assert apart[0] < 20 and apart[0] < apart[1]


def test_emphasis_and_long_prompts(king):
    assert not king(prompt="a (king:1.6) on a teal background").same(king())
    assert "this model takes 23" in king(prompt="a king " * 20).comments


def test_a_refiner_of_another_kind_is_refused_and_a_switch_is_not(king):
    from extras.studio.fields import FieldError

    plain = king()
    with pytest.raises(FieldError, match="a flow model"):
        king(refiner_checkpoint="alpha", refiner_switch_at=0.5)
    assert not king(override_settings={"sd_model_checkpoint": "alpha.safetensors"}).same(plain)
    assert king().same(plain)


def test_it_is_in_the_list_of_the_folder_it_comes_in(engine, monkeypatch):
    from modules import sd_models

    monkeypatch.setattr(sd_models, "model_dir", ROOT / "models")
    for name in ("checkpoints_list", "checkpoint_aliases"):
        monkeypatch.setattr(sd_models, name, {})
    sd_models.list_models()
    assert sd_models.checkpoint_tiles() == [
        "doodle-base.safetensors", "doodle-student.safetensors", "doodle-flux.safetensors"
    ]  # fmt: skip
