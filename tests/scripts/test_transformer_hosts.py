"""Flux in Forge and SD3 in A1111, by stand-ins: guided through the host's callbacks, restored to the bit."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
sys.path.append(str(Path(__file__).resolve().parents[1] / "nag"))  # the layouts

from front_helpers import leftovers
from transformer_family import FluxForge, become_sd3

NAG = {"negative": "glasses", "scale": 5}
PAG = {"nag": False, "nag_pag_scale": 3}


@pytest.fixture(params=["Flux", "SD3"])
def host(request, engine, monkeypatch):
    undo = lambda: None  # noqa: E731
    if request.param == "Flux":
        FluxForge(engine, monkeypatch)
    else:
        undo = become_sd3(engine, monkeypatch)
    yield request.param
    assert leftovers(engine) == 0
    undo()


@pytest.mark.parametrize("cfg", [1, 4])
def test_nag_and_nag_pag_act_and_leave_nothing(host, draw, cfg):
    plain = draw(cfg_scale=cfg)
    for nag, layers in ((NAG, {"Flux": 4, "SD3": 3}), (PAG, {"Flux": 2, "SD3": 2})):
        guided = draw(nag, cfg_scale=cfg)
        (report,) = guided.reports.values()
        assert not guided.same(plain, tolerance=1) and report["guided_steps"] == [1, 2, 3, 4]
        assert not report["warnings"] and report["error"] is None
        assert report["mean_change"] > 0 and report["layers"] == layers[host] and report["calls"] == 4 * layers[host]
        assert draw(cfg_scale=cfg).same(plain, tolerance=0)


def test_the_negative_matters_and_one_that_is_the_prompt_does_not(host, draw):
    plain, glasses, hat = draw(), draw(NAG), draw({**NAG, "negative": "hat"})
    assert not glasses.same(hat, tolerance=1)
    assert draw({**NAG, "negative": "a nerd"}).same(plain, tolerance=1)


def test_each_image_of_a_batch_has_its_own_negative(host, draw):
    both = draw({**NAG, "negative": ["glasses", "hat"]}, batch_size=2, cfg_scale=4)
    for i, negative in enumerate(("glasses", "hat")):
        alone = draw({**NAG, "negative": negative}, seed=7 + i, cfg_scale=4)
        assert abs(np.subtract(both.images[i], alone.images[0], dtype=int)).max() <= 1


def test_the_window_counts_and_what_is_not_for_transformers_is_said(host, draw):
    plain = draw()
    late = draw({**NAG, "unit": "steps", "start": 0.5, "end": 1})
    assert next(iter(late.reports.values()))["guided_steps"] == [3, 4]
    refused = draw({"nag": False, "tpg_scale": 3})
    assert refused.same(plain, tolerance=0)
    assert "a transformer with joint attention" in next(iter(refused.reports.values()))["error"]


def test_both_encodings_of_the_negative_arrive(host, draw, engine, monkeypatch):
    from extras.nag.joint.run import JointRun

    told, original = [], JointRun.set_negative

    def watched(self, contexts, key=None, pooled=None):
        told.append((contexts, pooled))
        original(self, contexts, key, pooled)

    monkeypatch.setattr(JointRun, "set_negative", watched)
    draw(NAG)
    expected = engine.model.get_learned_conditioning(["glasses"])
    ((contexts, pooled),) = told
    torch.testing.assert_close(contexts[0], expected["crossattn"][0])
    torch.testing.assert_close(pooled[0], expected["vector"][0])


def test_times_of_a_flow_are_thousandths_of_its_sigmas():
    from extras.nag.hosts.webui.grid import grid_of_call

    for time_of_host in (lambda s: s, lambda s: 1000 * s):  # Flux and SD3 in Forge
        inner = SimpleNamespace(sigmas=torch.linspace(1e-4, 1, 10), sigma_to_t=time_of_host)
        sampler = SimpleNamespace(model_wrap_cfg=SimpleNamespace(inner_model=inner), func=lambda: None)
        grid = grid_of_call(sampler, {"sigmas": torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])}, 4)
        assert grid.times == pytest.approx((1000, 750, 500, 250)) and grid.exact
        assert grid.time_of(SimpleNamespace(inner_model=inner), 0.5) == pytest.approx(500)
