"""LoRAs that change while sampling: what was computed with the old weights is not used any more."""

import sys
from types import SimpleNamespace

import pytest
import torch
from forge_family import ForgeFamily

GLASSES = {"negative": "glasses", "scale": 8}


@pytest.fixture(params=["A1111", "Forge"])
def adapters(request, engine, monkeypatch):
    """change(scale): other weights in every projection of a context, under the name of another LoRA strength."""
    layers = [m for m in engine.model.model.modules() if hasattr(m, "to_k") and hasattr(m, "to_v")]
    weights = [linear.weight for layer in layers for linear in (layer.to_k, layer.to_v)]
    own = [w.detach().clone() for w in weights]
    net = SimpleNamespace(name="lora", te_multiplier=1.0, unet_multiplier=1.0, dyn_dim=None)
    if request.param == "A1111":
        monkeypatch.setitem(sys.modules, "networks", SimpleNamespace(loaded_networks=[net]))
    else:
        ForgeFamily(engine, monkeypatch)

    def change(scale):
        with torch.no_grad():
            for weight, before in zip(weights, own, strict=True):
                weight.copy_(before * scale)
        net.unet_multiplier = scale
        if request.param == "Forge":
            engine.model.current_lora_hash = f"[{scale}]"

    yield change
    change(1.0)


def test_a_lora_that_changes_in_mid_run(draw, adapters, monkeypatch):
    from extras.nag.branches.text import TextBranch
    from modules import script_callbacks

    def other_strength(params):
        adapters(1.0 if params.denoiser.step % 4 < 2 else 1.5)

    def fresh(self, layer, query, group):
        self._projected.clear()
        return original(self, layer, query, group)

    script_callbacks.on_cfg_denoiser(other_strength)
    callbacks = script_callbacks.callback_map["callbacks_cfg_denoiser"]
    callbacks.insert(0, callbacks.pop())  # before ours, as an extension that is loaded earlier
    try:
        guided = draw(GLASSES)
        original = TextBranch._keys_values
        monkeypatch.setattr(TextBranch, "_keys_values", fresh)
        expected = draw(GLASSES)
    finally:
        script_callbacks.remove_callbacks_for_function(other_strength)
    adapters(1.0)
    assert guided.same(expected) and not guided.same(draw(GLASSES))
