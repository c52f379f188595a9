"""guide() with a hand-off: the LoRA adapter of a pipeline off in the first steps, then on."""

import nag_pipelines
import numpy as np
import pytest
import torch
from test_guide import draw, hooks

from extras.nag import SettingsError, guide

LORA = {"handoff_steps": 1, "handoff_lora": "few", "handoff_cfg": 5.0}


class Adapted(torch.nn.Module):
    """A layer as PEFT makes it: base_layer and adapters, each with its scaling."""

    def __init__(self, layer, generator):
        super().__init__()
        self.base_layer, self.scaling = layer, {"few": 0.8, "other": 0.1}
        self.change = torch.randn(layer.weight.shape, generator=generator) / 2
        self.seen = []

    def forward(self, x):
        self.seen.append(self.scaling["few"])
        return self.base_layer(x) + self.scaling["few"] * (x @ self.change.T)


@pytest.fixture
def pipe(tmp_path):
    pipe = nag_pipelines.sd(tmp_path)
    generator = torch.Generator().manual_seed(1)
    for module in pipe.unet.modules():
        if hasattr(module, "to_v"):
            module.to_v = Adapted(module.to_v, generator)
    return pipe


def layers(pipe):
    return [module for module in pipe.unet.modules() if isinstance(module, Adapted)]


def test_off_at_first_then_on_and_nag_begins_after_it(pipe):
    plain = draw(pipe, guidance_scale=1.001)
    with guide(pipe, negative="glasses", scale=6, **LORA) as run:
        for layer in layers(pipe):
            layer.seen.clear()
        image = draw(pipe, guidance_scale=1.001)
        again = draw(pipe, guidance_scale=1.001)
    first = [layer.seen[0] for layer in layers(pipe)]
    assert set(first) == {0.0} and all(set(layer.seen) == {0.0, 0.8} for layer in layers(pipe))
    assert all(layer.scaling == {"few": 0.8, "other": 0.1} for layer in layers(pipe)) and hooks(pipe) == 0
    assert np.array_equal(image, again) and not np.array_equal(image, plain)
    assert np.array_equal(draw(pipe, guidance_scale=1.001), plain)
    assert run.methods["NAG"].guided_steps == [2, 3, 4] and run.methods["NAG"].acted
    report = run.methods["hand-off"]
    assert report.guided_steps == [1] and [line["model"] for line in report.per_step][:2] == [
        "the model",
        "the model with few",
    ]
    assert "steps 1 of 4 on the model at CFG 5, then the model with few at CFG 1.001" in report.schedule


def test_the_first_step_is_the_base_models_at_its_own_cfg(pipe):
    latents = []

    def keep(pipe, step, time, values):
        latents.append(values["latents"].clone())
        return values

    with guide(pipe, nag=False, **LORA):
        draw(pipe, guidance_scale=1.001, callback_on_step_end=keep)
    for layer in layers(pipe):
        layer.scaling["few"] = 0.0
    draw(pipe, guidance_scale=5.0, callback_on_step_end=keep)
    torch.testing.assert_close(latents[0], latents[4])
    assert not torch.allclose(latents[1], latents[5])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"handoff_lora": "many"}, "handoff_lora: 'many'.*there: few, other"),
        ({"handoff_lora": ""}, "handoff_lora: ''.*the adapter that is off"),
        ({"handoff_checkpoint": "base"}, "handoff_checkpoint: 'base'.*one model"),
        ({"handoff_steps": 4}, "handoff_steps: 4.*fewer than the 4 steps"),
        ({}, "handoff_cfg: 5.*without CFG"),
    ],
)
def test_what_cannot_be_is_an_error(pipe, values, told):
    with pytest.raises(SettingsError, match=told), guide(pipe, negative="glasses", **{**LORA, **values}):
        draw(pipe, guidance_scale=1.001 if values else 1.0)
    assert all(layer.scaling["few"] == 0.8 for layer in layers(pipe)) and hooks(pipe) == 0
