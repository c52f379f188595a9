"""The first steps without a LoRA of the prompt, the rest with it: one model, switched in mid-run."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

PROMPT = "a nerd <lora:few:0.8>"
LORA = {"negative": "glasses", "handoff_steps": 1, "handoff_lora": "few", "handoff_cfg": 5.0}


@pytest.fixture(autouse=True)
def lora(engine):
    """A LoRA of random factors in every attention of the UNet."""
    generator, tensors = torch.Generator().manual_seed(3), {}
    for name, module in engine.model.model.diffusion_model.named_modules():
        if name.endswith("to_v"):
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, module.in_features, generator=generator) / 4
            tensors[f"unet.{name}.lora_B.weight"] = torch.randn(module.out_features, 2, generator=generator)
    folder = engine.models_dir / "Lora"
    folder.mkdir(exist_ok=True)
    save_file(tensors, str(folder / "few.safetensors"))


@pytest.fixture
def seen(engine, monkeypatch):
    """(multiplier of the LoRA, CFG scale in force) of every evaluation."""
    import networks

    from modules import sd_samplers_cfg_denoiser

    found = []
    combine = sd_samplers_cfg_denoiser.CFGDenoiser.combine_denoised

    def spy(self, x_out, conds_list, uncond, cond_scale):
        found.append(([net.unet_multiplier for net in networks.loaded_networks], round(cond_scale, 6)))
        return combine(self, x_out, conds_list, uncond, cond_scale)

    monkeypatch.setattr(sd_samplers_cfg_denoiser.CFGDenoiser, "combine_denoised", spy)
    return found


def test_off_at_first_then_on_with_its_weight(draw, seen):
    picture = draw({**LORA, "nag": False}, prompt=PROMPT)
    assert seen == [([0.0], 5.0), ([0.8], 1.0), ([0.8], 1.0), ([0.8], 1.0)]
    report = picture.reports["hand-off"]
    assert report["guided_steps"] == [1] and not report["warnings"] and report["error"] is None
    assert "steps 1 of 4 on alpha at CFG 5, then alpha with few at CFG 1" in report["schedule"]
    assert "NAG handoff LoRA: few" in picture.texts[0] and 'Lora hashes: "few: ' in picture.texts[0]
    assert "CFG scale: 1" in picture.texts[0]


def test_the_first_step_is_the_base_models_and_nag_begins_after_it(draw):
    plain, lora = draw(prompt=PROMPT), draw({**LORA, "nag": False}, prompt=PROMPT)
    nag = draw({**LORA, "scale": 6}, prompt=PROMPT)
    assert not np.array_equal(plain.pixels, lora.pixels) and not np.array_equal(lora.pixels, nag.pixels)
    assert nag.report["guided_steps"] == [2, 3, 4] and nag.report["calls"] > 0 and nag.report["error"] is None
    base = draw(prompt="a nerd", cfg_scale=5, steps=2)
    handed = draw({**LORA, "nag": False}, prompt=PROMPT.replace("0.8", "1e-30"), cfg_scale=5, steps=2)
    assert np.array_equal(base.pixels, handed.pixels)  # a LoRA of no weight: the base all along


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE", "Heun", "LCM", "DDIM"])
def test_a_seed_gives_the_picture_again_and_nothing_stays(draw, sampler):
    plain = draw(prompt=PROMPT, sampler_name=sampler).pixels
    first, again = (draw(LORA, prompt=PROMPT, sampler_name=sampler).pixels for _ in range(2))
    assert np.array_equal(first, again) and not np.array_equal(first, plain)
    assert np.array_equal(draw(prompt=PROMPT, sampler_name=sampler).pixels, plain)


def test_every_batch_begins_without_it_and_is_guided(draw, seen):
    both = draw({**LORA, "scale": 6}, prompt=PROMPT, n_iter=2)
    assert [on[0] for on, _ in seen] == [0.0, 0.8, 0.8, 0.8] * 2
    one = draw({**LORA, "scale": 6}, prompt=PROMPT, seed=8)
    assert both.report["calls"] == 2 * one.report["calls"] and both.report["error"] is None
    assert np.array_equal(np.asarray(both.images[-1]), np.asarray(one.images[-1]))


def test_the_hires_pass_is_the_students(draw, seen):
    draw({**LORA, "nag": False}, prompt=PROMPT, enable_hr=True, hr_scale=2, denoising_strength=0.5, steps=2)
    assert [on[0] for on, _ in seen][:2] == [0.0, 0.8] and {on[0] for on, _ in seen[2:]} == {0.8}


def test_after_an_error_of_the_host_the_weight_is_the_prompts(engine, draw, monkeypatch):
    import networks

    from modules import sd_samplers_cfg_denoiser

    kept = []

    def explode(self, *_):
        kept.extend(networks.loaded_networks)
        raise RuntimeError("the host's own")

    monkeypatch.setattr(sd_samplers_cfg_denoiser.CFGDenoiser, "combine_denoised", explode)
    with pytest.raises(RuntimeError, match="the host's own"):
        draw(LORA, prompt=PROMPT)
    assert [net.unet_multiplier for net in kept] == [0.8]


@pytest.mark.parametrize(
    ("values", "prompt", "told"),
    [
        ({}, "a nerd", "a LoRA that the prompt uses, with a weight; there: none"),
        ({"handoff_lora": "many"}, PROMPT, "there: few"),
        ({}, PROMPT.replace("0.8", "0"), "there: none"),
        ({"handoff_checkpoint": "beta"}, PROMPT, "nothing while a hand-off checkpoint is named"),
        ({"handoff_steps": 4}, PROMPT, "fewer than the 4 steps"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_and_the_picture_is_drawn_plain(draw, values, prompt, told):
    picture = draw({**LORA, **values}, prompt=prompt)
    assert told in picture.texts[0]
    assert np.array_equal(picture.pixels, draw(prompt=prompt).pixels)


@pytest.mark.parametrize(("module", "told"), [("modules_forge", "A1111 can"), ("networks", "switched off")])
def test_hosts_that_cannot_say_so(draw, monkeypatch, module, told):
    monkeypatch.setitem(sys.modules, module, type(sys)(module))
    assert told in draw(LORA, prompt=PROMPT).texts[0]
