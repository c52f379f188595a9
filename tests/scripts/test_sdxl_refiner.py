"""SDXL's refiner takes over from SDXL: another text encoder, another width of the text, and both are guided."""

from __future__ import annotations

from pathlib import Path

import compvis
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"steps": 4, "cfg_scale": 2, "seed": 3, "refiner_checkpoint": "refiner", "refiner_switch_at": 0.5}
HAT = {"enabled": True, "negative": "a hat", "scale": 6}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    from extras.studio.engine import Engine

    models = tmp_path_factory.mktemp("xl")
    (models / "tokenizer").symlink_to(ROOT / "models" / "tokenizer")
    for name in ("sdxl", "refiner"):
        getattr(compvis, name)(models / f"{name}.safetensors")
    return Engine(models, ROOT, tmp_path_factory.mktemp("xl-out"), ckpt=models / "sdxl.safetensors").load()


@pytest.fixture
def calls(engine):
    """(checkpoint, widths of what its network was given) of each model call."""
    from extras.studio import model
    from modules import shared

    seen = []
    own = model.DiffusionWrapperXL.forward

    def forward(self, x, t, c):
        seen.append((shared.sd_model.sd_checkpoint_info.model_name, c["crossattn"].shape[-1], c["vector"].shape[-1]))
        return own(self, x, t, c)

    model.DiffusionWrapperXL.forward = forward
    yield seen
    model.DiffusionWrapperXL.forward = own


def test_both_models_draw_and_both_are_guided(draw, calls, options):
    options(refiner_switch_by_sample_steps=True)
    plain = draw(**FIELDS)
    assert calls == [("sdxl", 2048, 2816)] * 2 + [("refiner", 1280, 2560)] * 2
    guided = draw(HAT, **FIELDS)
    assert guided.report["guided_steps"] == [1, 2, 3, 4] and not guided.report["warnings"]
    layers = {name: entry["calls"] for name, entry in guided.report["per_layer"].items()}
    assert all(layers.values()), "every layer of both"
    last = draw({**HAT, "start": 0.5, "unit": "steps"}, **FIELDS)
    assert last.report["guided_steps"] == [3, 4] and not last.same(plain) and not last.same(guided)
    assert draw(**FIELDS).same(plain)


def test_the_refiner_alone_is_a_model_too(draw, engine):
    engine.set_checkpoint("refiner")
    try:
        plain = draw(seed=3)
        assert draw(HAT, seed=3).report["calls"] and np.std(plain.pixels[0]) > 0
        assert draw(seed=3).same(plain)
    finally:
        engine.set_checkpoint("sdxl")


def test_what_is_asked_for_is_beautiful_and_what_is_not_is_not(engine):
    from modules import shared
    from modules.prompt_parser import SdConditioning

    engine.set_checkpoint("refiner")
    try:
        with torch.no_grad():
            vectors = [
                shared.sd_model.get_learned_conditioning(
                    SdConditioning(["a nerd"], width=512, height=768, is_negative_prompt=negative)
                )["vector"][0]
                for negative in (False, True)
            ]
    finally:
        engine.set_checkpoint("sdxl")
    from diffusers.models.embeddings import get_timestep_embedding

    for vector, score in zip(vectors, (6.0, 2.5), strict=True):
        numbers = torch.tensor([768.0, 512.0, 0.0, 0.0, score])
        wanted = get_timestep_embedding(numbers, 256, flip_sin_to_cos=True, downscale_freq_shift=0).flatten()
        torch.testing.assert_close(vector[1280:].float(), wanted, atol=1e-3, rtol=1e-3)
