"""Guidance in hosts of Forge's family: the same pictures as under A1111's contract, and nothing left behind."""

import copy

import pytest
import torch
from forge_family import ForgeFamily
from front_helpers import leftovers, script_of

GLASSES = {"negative": "glasses", "scale": 8}
LONG = "glasses, " * 60  # two chunks of tokens


@pytest.fixture
def forge(engine, monkeypatch):
    """Turns the Studio into such a host when called."""
    yield lambda: ForgeFamily(engine, monkeypatch)
    assert leftovers(engine) == 0


@pytest.fixture
def rows(monkeypatch):
    """Rows told to the run, one list per model call."""
    from extras.nag.run import Run

    seen, original = [], Run.call

    def watched(self, given, total):
        seen.append(list(given))
        original(self, given, total)

    monkeypatch.setattr(Run, "call", watched)
    return seen


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cfg_scale": 7},
        {"cfg_scale": 7, "batch_size": 3},
        {"cfg_scale": 7, "prompt": "a nerd AND a pink background :0.5", "batch_size": 2},
        {"cfg_scale": 7, "prompt": LONG},
        {"sampler_name": "Heun", "steps": 3},
        {"sampler_name": "DDIM", "steps": 5},
        {"sampler_name": "LCM"},
        {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7, "steps": 2},
    ],
    ids=["cfg1", "cfg7", "batch", "and", "long", "heun", "ddim", "lcm", "hires"],
)
def test_the_same_picture_as_under_the_other_contract(draw, forge, fields):
    nag = {**GLASSES, "end": 0.8}
    expected = draw(nag, **fields)
    plain = draw(**fields)
    forge()
    guided = draw(nag, **fields)
    assert guided.same(expected, tolerance=1) and not guided.same(plain, tolerance=1)
    for name, report in guided.reports.items():
        want = expected.reports[name]
        assert [report[key] for key in ("guided_steps", "steps", "forwards", "warnings", "error")] == [
            want[key] for key in ("guided_steps", "steps", "forwards", "warnings", "error")
        ]
    assert draw(**fields).same(plain, tolerance=1)


@pytest.mark.parametrize(
    ("fields", "told", "expected"),
    [
        ({}, [0], [(0, 0)]),
        ({"cfg_scale": 7}, [1, 0], [(1, 0)]),
        ({"cfg_scale": 7, "batch_size": 2}, [1, 0], [(2, 0), (3, 1)]),
        ({"cfg_scale": 7, "batch_size": 2, "prompt": "a AND b"}, [1, 0, 0], [(2, 0), (3, 1), (4, 0), (5, 1)]),
    ],
)
def test_conditional_rows_and_their_images(draw, forge, rows, fields, told, expected):
    family = forge()
    draw({"negative": "glasses"}, steps=1, **fields)
    assert family.calls == [told] and rows == [expected]


def test_tiles_of_a_picture_are_guided_like_the_picture(draw, forge, rows):
    family = forge()
    family.tiles = 2
    draw({"negative": ["glasses", "hat"]}, cfg_scale=7, batch_size=2, steps=1)
    assert rows == [[(2, 0), (3, 1), (6, 0), (7, 1)]]  # two tiles of [uncond, cond] x 2 images


def test_calls_without_an_account_or_with_another_are_left_alone(draw, forge):
    family = forge()
    sizes = []

    def extra(denoiser):  # what an extension may do with the network between the host's calls
        with torch.no_grad():
            for options in ({}, {"cond_or_uncond": [0, 1], "sigmas": torch.ones(1)}):
                out = family.network(torch.zeros(3, 4, 8, 8), torch.ones(3), context=torch.zeros(3, 77, 64),
                                     transformer_options=options)  # fmt: skip
                sizes.append(len(out))

    plain = draw()
    draw(GLASSES)
    family.before_evaluation = extra
    guided = draw({**GLASSES, "start": 0, "end": 1})
    assert guided.report["forwards"] == 4 and not guided.same(plain) and sizes
    assert any("3 rows" in warning for warning in guided.report["warnings"])


def test_the_unconditional_prediction_under_another_name_is_left_alone(draw, forge, rows):
    """Self-attention guidance asks for it once more, as if it were conditional."""
    family = forge()
    again = []

    def ask(context, x, sigma):
        options = {"cond_or_uncond": [0], "sigmas": sigma}
        again.append(family.network(x, sigma, context=context, transformer_options=options))

    family.after_calls = lambda cond, uncond, x, sigma: [ask(uncond, x, sigma), ask(cond, x, sigma)]
    draw({"negative": "glasses"}, cfg_scale=7, negative_prompt="hat", steps=1)
    assert rows == [[(1, 0)], [], [(0, 0)]] and len(again) == 2


def test_cooldown_lowers_cfg_and_keeps_the_modifiers_of_others(draw, forge, engine):
    window = {"negative": "glasses", "scale": 1, "end": 0.3, "cooldown": 0.7, "cooldown_drop": 0.5}
    expected = draw(window, cfg_scale=7)
    family = forge()
    options = engine.model.forge_objects.unet.model_options

    def other(model, x, sigma, uncond, cond, scale, *rest):
        return (model, x, sigma, uncond, cond, scale, *rest)

    options["conditioning_modifiers"] = [other]
    assert draw(window, cfg_scale=7).same(expected, tolerance=1)
    assert family.scales == [7.0, 3.5, 3.5, 3.5]
    assert options == {"conditioning_modifiers": [other]}
    del options["conditioning_modifiers"]
    family.network.register_forward_hook(lambda *_: 1 / 0 if len(family.scales) > 5 else None)
    with pytest.raises(ZeroDivisionError):
        draw(window, cfg_scale=7)
    assert options == {}


def test_an_error_in_the_rule_for_cfg_is_told_and_ends_nothing(draw, forge, monkeypatch):
    from extras.nag.hosts.webui.session import Session

    def fault(self, scale):
        raise RuntimeError("no rule")

    family = forge()
    plain = draw(cfg_scale=7)
    monkeypatch.setattr(Session, "_cfg_scale", fault)
    drawn = draw({**GLASSES, "end": 0.3, "cooldown": 0.7}, cfg_scale=7)
    assert "no rule" in drawn.comments and family.scales[4:] == [7.0] * 4
    assert draw(cfg_scale=7).same(plain)


def test_a_model_switched_in_mid_run(draw, forge, engine, monkeypatch):
    """The refiner: guided on with the new network, whose text encoder has been used, so made ready once more."""
    family = forge()
    first = family.network
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(0.9)

    def switch(denoiser):
        if denoiser.step == 2:
            unet = family.engine.model.forge_objects.unet.clone()
            unet.model = type(unet.model)(diffusion_model=second)
            monkeypatch.setattr(family.engine.model.forge_objects, "unet", unet)

    plain = draw()
    family.before_evaluation = switch
    guided = draw(GLASSES)
    assert guided.report["calls"] == 4 * guided.report["layers"] and guided.report["guided_steps"] == [1, 2, 3, 4]
    assert family.prepared == [engine.model.forge_objects.unet] and not guided.same(plain)
    assert not first._forward_pre_hooks and not second._forward_pre_hooks


def test_asked_twice_before_the_hires_pass(draw, forge, monkeypatch):
    """The first time with a patcher that is thrown away."""
    from extras.nag.ui.front import FrontDoor

    fields = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7, "steps": 2}
    expected = draw(GLASSES, **fields)
    forge()
    original = FrontDoor.before_sampling

    def twice(self, p):
        original(self, p)
        p.sd_model.forge_objects.unet = p.sd_model.forge_objects.unet.clone()
        original(self, p)

    monkeypatch.setattr(FrontDoor, "before_sampling", twice)
    guided = draw(GLASSES, **fields)
    assert guided.same(expected, tolerance=1)
    assert {name: r["calls"] for name, r in guided.reports.items()} == {
        name: r["calls"] for name, r in expected.reports.items()
    }


def test_the_unused_half_is_left_out_already_and_said(draw, forge):
    forge()
    skipped = draw({**GLASSES, "skip_uncond": True})
    assert skipped.same(draw(GLASSES)) and "by itself" in skipped.comments


@pytest.mark.parametrize("method", ["tpg", "pag", "three_way", "nag_pag"])
def test_every_method_acts_with_the_scale_that_the_host_applies(draw, forge, method):
    nag = {"negative": "glasses", "nag": False, f"{method}_scale": 3, "end": 0.5, "cooldown": 0.5}
    expected = {cfg: draw(nag, cfg_scale=cfg, batch_size=2) for cfg in (1, 7)}
    forge()
    for cfg, picture in expected.items():
        guided = draw(nag, cfg_scale=cfg, batch_size=2)
        assert guided.same(picture, tolerance=1) and not guided.same(draw(cfg_scale=cfg, batch_size=2), tolerance=1)
        assert all(report["calls"] and not report["error"] for report in guided.reports.values())


@pytest.mark.parametrize("call", [1, 3])
def test_an_exception_in_the_network(draw, forge, engine, call):
    family = forge()
    plain, calls = draw(cfg_scale=7), []
    handle = family.network.register_forward_hook(lambda *_: calls.append(1) or (1 / 0 if len(calls) == call else None))
    with pytest.raises(ZeroDivisionError):
        draw(GLASSES, cfg_scale=7)
    handle.remove()
    assert leftovers(engine) == 0 and not family.network._forward_pre_hooks
    assert "guided steps" in script_of(engine).front.last
    assert draw(cfg_scale=7).same(plain)


@pytest.mark.parametrize(
    "where", ["Run.call", "Run.step_at", "Run.cfg_scale", "Forge.rows", "Forge.set_cfg", "Forge.network"]
)
def test_our_own_error_ends_in_an_unguided_picture(draw, forge, monkeypatch, where):
    from extras.nag import run
    from extras.nag.hosts.webui import forge as ours

    def fail(*args, **kwargs):
        raise RuntimeError("a fault of ours")

    forge()
    plain = draw(cfg_scale=7)
    owner, name = where.split(".")
    monkeypatch.setattr({"Run": run.Run, "Forge": ours.Forge}[owner], name, fail)
    hurt = draw(GLASSES, cfg_scale=7)
    assert "RuntimeError: a fault of ours" in hurt.comments and "NAG error" in hurt.texts[0]
    assert hurt.same(plain)


def test_a_model_of_no_family_is_named():
    from extras.nag.hosts.webui.families import family_of

    with pytest.raises(LookupError, match=r"object; allowed: one with \.model or \.forge_objects"):
        family_of(object())
