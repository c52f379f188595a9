"""Forge Neo, as far as its sources tell: what it has no more of what Forge has, and its refiner within one network."""

import sys

import pytest
import torch
from forge_family import ForgeFamily
from front_helpers import leftovers

GLASSES = {"negative": "glasses", "scale": 8}


@pytest.fixture
def neo(engine, monkeypatch):
    yield ForgeFamily(engine, monkeypatch)
    assert leftovers(engine) == 0


def test_a_host_without_the_hijack(draw, neo, monkeypatch):
    expected = draw(GLASSES, cfg_scale=7)
    monkeypatch.setitem(sys.modules, "modules.sd_hijack", None)
    guided = draw(GLASSES, cfg_scale=7)
    assert guided.same(expected) and guided.report["calls"] and guided.report["error"] is None


def test_the_quick_refiner_loads_other_weights_into_the_same_network(draw, neo, monkeypatch):
    """Neither the model nor its checkpoint's name changes: only what its module of samplers remembers."""
    from extras.nag.branches.text import TextBranch
    from modules import sd_samplers_common

    layers = [m for m in neo.network.modules() if hasattr(m, "to_k") and hasattr(m, "to_v")]
    weights = [linear.weight for layer in layers for linear in (layer.to_k, layer.to_v)]
    own = [weight.detach().clone() for weight in weights]

    def load(scale, before):
        with torch.no_grad():
            for weight, kept in zip(weights, own, strict=True):
                weight.copy_(kept * scale)
        monkeypatch.setattr(sd_samplers_common, "ORIGINAL_CHECKPOINT", before, raising=False)

    def refine(denoiser):
        if denoiser.step == 2:
            load(1.5, "base.safetensors")

    def fresh(self, layer, query, group):
        self._projected.clear()
        return original(self, layer, query, group)

    neo.before_evaluation = refine
    try:
        guided = draw(GLASSES)
        load(1.0, None)
        original = TextBranch._keys_values
        monkeypatch.setattr(TextBranch, "_keys_values", fresh)
        expected = draw(GLASSES)
        load(1.0, None)
        neo.before_evaluation = lambda denoiser: None
        alone = draw(GLASSES)
    finally:
        load(1.0, None)
    assert guided.same(expected) and not guided.same(alone)
    assert guided.report["guided_steps"] == [1, 2, 3, 4] and neo.prepared
