"""Nothing of ours outlives a run, whatever happened in it; and our own errors never end a generation."""

import pytest
from front_helpers import leftovers, script_of

from extras.nag.report import ENDED_EARLY

GLASSES = {"negative": "glasses", "scale": 8}


@pytest.fixture
def plain(draw):
    return draw(cfg_scale=7)


@pytest.fixture(autouse=True)
def clean(engine):
    yield
    assert leftovers(engine) == 0


def test_switched_off_is_bit_identical(draw, plain):
    assert draw({"enabled": False, "negative": "glasses", "scale": "nonsense"}, cfg_scale=7).same(plain)
    assert draw(args=[False, "glasses", 99], cfg_scale=7).same(plain)


def test_outside_the_window_is_bit_identical_and_said(draw, plain):
    outside = draw({**GLASSES, "start": 0.9, "end": 0.95}, cfg_scale=7)
    assert outside.same(plain)
    assert "start 0.9" in outside.comments and "NAG warning" in outside.texts[0]


def test_after_a_run_all_is_as_before(draw, plain, engine):
    assert not draw(GLASSES, cfg_scale=7).same(plain)
    assert leftovers(engine) == 0
    assert draw(cfg_scale=7).same(plain)


def test_nothing_is_in_the_model_while_no_step_is_guided(draw, engine):
    """Hooks exist in the guided steps only."""
    from extras.nag.taps import count_taps
    from modules import script_callbacks

    seen = []

    def watch(params):
        seen.append(count_taps(engine.model.model) + len(engine.model.model._forward_pre_hooks))

    script_callbacks.on_cfg_denoised(watch)
    draw({**GLASSES, "start": 0.25, "end": 0.75, "unit": "steps"})
    script_callbacks.remove_callbacks_for_function(watch)
    assert [bool(n) for n in seen] == [False, True, True, False]


@pytest.mark.parametrize(
    "where", ["extras.nag.maths.normalized_guidance", "NegativeEncoder.encode", "Run.call", "Run.begin",
              "Run.step_at", "Run.set_negative", "grid_of_call", "RowCounter.take", "before_sampling"],
)  # fmt: skip
def test_our_own_error_ends_in_an_unguided_picture(draw, plain, monkeypatch, where):
    from extras.nag import run, taps
    from extras.nag.hosts.webui import negative, rows, session

    def fail(*args, **kwargs):
        raise RuntimeError("a fault of ours")

    owner, name = {
        "extras.nag.maths.normalized_guidance": (taps, "normalized_guidance"),
        "NegativeEncoder.encode": (negative.NegativeEncoder, "encode"),
        "Run.call": (run.Run, "call"),
        "Run.begin": (run.Run, "begin"),
        "Run.step_at": (run.Run, "step_at"),
        "Run.set_negative": (run.Run, "set_negative"),
        "grid_of_call": (session, "grid_of_call"),
        "RowCounter.take": (rows.RowCounter, "take"),
        "before_sampling": (session, "prepare_text"),
    }[where]
    monkeypatch.setattr(owner, name, fail)
    hurt = draw(GLASSES, cfg_scale=7)
    assert hurt.same(plain)
    assert "a fault of ours" in hurt.comments and 'NAG error: "RuntimeError: a fault of ours"' in hurt.texts[0]
    monkeypatch.undo()
    assert not draw(GLASSES, cfg_scale=7).same(plain)


@pytest.mark.parametrize("call", [0, 2])
def test_an_exception_in_the_model(draw, plain, engine, call):
    calls = []

    def boom(*_):
        calls.append(1)
        if len(calls) > call:
            raise RuntimeError("out of memory, say")

    unet = engine.model.model
    handle = unet.register_forward_hook(boom)
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            draw(GLASSES, cfg_scale=7)
    finally:
        handle.remove()
    assert leftovers(engine) == 0
    assert "guided steps" in script_of(engine).front.last
    assert draw(cfg_scale=7).same(plain)


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("how", ["interrupt", "skip"])
def test_interrupt_and_skip(draw, plain, engine, step, how):
    from modules import script_callbacks

    calls = []

    def stop(params):
        calls.append(1)
        if len(calls) == step:
            getattr(engine, how)()

    script_callbacks.on_cfg_denoised(stop)
    try:
        stopped = draw(GLASSES, cfg_scale=7)
    finally:
        script_callbacks.remove_callbacks_for_function(stop)
    assert stopped.report["guided_steps"] == list(range(1, step + 1))
    assert leftovers(engine) == 0
    assert draw(cfg_scale=7).same(plain)


@pytest.mark.parametrize("how", ["interrupt", "skip"])
def test_stopped_before_the_window_nothing_is_wrong(draw, engine, how):
    from modules import script_callbacks

    stop = lambda params: getattr(engine, how)()  # noqa: E731
    script_callbacks.on_cfg_denoised(stop)
    try:
        stopped = draw({**GLASSES, "start": 0.6, "end": 1.0}, cfg_scale=7)
    finally:
        script_callbacks.remove_callbacks_for_function(stop)
    assert not stopped.report["calls"] and stopped.report["warnings"] == [ENDED_EARLY]


def test_another_model_in_between(draw, plain, engine, front_models):
    guided = draw(GLASSES, cfg_scale=7)
    engine.set_checkpoint("beta")
    try:
        other = draw(GLASSES, cfg_scale=7)
        assert not other.same(guided) and other.report["calls"]
        assert not other.same(draw(cfg_scale=7))
    finally:
        engine.set_checkpoint("alpha")
    assert draw(cfg_scale=7).same(plain)
    assert draw(GLASSES, cfg_scale=7).same(guided)


def test_a_job_that_never_ended_is_undone_by_the_next(draw, plain, engine, monkeypatch):
    """Even where a host forgets to close the job, the next one finds a clean model."""
    from extras.nag.hosts.webui import jobs, session

    monkeypatch.setattr(jobs, "watch_close", lambda p, then: None)
    monkeypatch.setattr(session.Session, "_end_pass", lambda self: None)
    handle = engine.model.model.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw(GLASSES, cfg_scale=7)
    handle.remove()
    assert leftovers(engine) > 0
    monkeypatch.undo()
    assert draw(cfg_scale=7).same(plain)


def test_randomness_is_left_alone(draw, engine):
    """The generators are where an unguided picture leaves them."""
    import random

    import torch

    def after(nag):
        torch.manual_seed(3)
        random.seed(3)
        draw(nag, sampler_name="Euler a")
        return torch.get_rng_state(), random.getstate()

    plain, guided = after(None), after(GLASSES)
    assert torch.equal(plain[0], guided[0]) and plain[1] == guided[1]


def test_even_a_failing_close_leaves_no_hook(draw, engine, monkeypatch):
    from extras.nag.guidance import Guidance

    plain = draw()

    def broken(self):
        raise RuntimeError("close is broken")

    with monkeypatch.context() as patch:
        patch.setattr(Guidance, "close", broken)
        hurt = draw({"negative": "hat", "scale": 8})
    assert "close is broken" in hurt.texts[0]
    assert leftovers(engine) == 0 and draw().same(plain)
