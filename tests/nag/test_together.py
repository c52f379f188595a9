"""Extra predictions in the host's own call: the same pictures, fewer calls; where it cannot be, made apart."""

import nag_tiny
import pytest
import torch
from nag_guided import forward, settings, wide
from nag_runs import TIMES, latents, text
from test_extra_predictions import Forge, host

from extras.nag.guidance import Guidance
from extras.nag.taps import count_taps, remove_leftovers

ASKING = ("TPG", "PAG", "three-way")
ALL = ("NAG", "NAG-PAG", *ASKING)


def compare(unet, methods, w=6.0, negatives=None, **more):
    """(batch sizes of the model's calls, reports) with ``together``, after comparing with and without."""
    x, context = wide(latents(4), text(77, 77, 77, 77))
    negatives = wide(text(*[77] * (4 if w == 1 else 2), seed=8))[0] if negatives is None else negatives
    apart, reports = forward(unet, x, context, negatives, settings(*methods, **more), w, finish=False)
    sizes = []
    own = unet.model.forward

    def counted(x, *args, **kwargs):
        sizes.append(len(x))
        return own(x, *args, **kwargs)

    unet.model.forward = counted
    try:
        both, others = forward(unet, x, context, negatives, settings(*methods, together=True, **more), w, finish=False)
        assert unet.model.forward is counted
    finally:
        del unet.model.forward
    torch.testing.assert_close(both, apart, rtol=1e-9, atol=1e-11)
    for method in ASKING:
        if method in reports:
            assert others[method].mean_change == pytest.approx(reports[method].mean_change, rel=1e-6)
            assert others[method].calls == reports[method].calls
    return sizes, others


@pytest.fixture(scope="module")
def exact():
    return nag_tiny.Callable(nag_tiny.sd1().double())


@pytest.mark.parametrize("method", ASKING)
def test_one_call_and_the_same_picture(exact, method):
    sizes, reports = compare(exact, [method])
    assert sizes == [6] and not reports[method].warnings and reports[method].acted


@pytest.mark.parametrize("w", [1.0, 6.0])
def test_all_methods_in_one_call(exact, w):
    sizes, reports = compare(exact, ALL, w)
    assert sizes == [10 if w != 1 else 16] and all(report.acted for report in reports.values())


def test_negatives_of_another_length_are_asked_apart(exact):
    sizes, reports = compare(exact, ["TPG", "three-way"], negatives=wide(text(77, 154, seed=8))[0])
    assert sizes == [6, 1, 1] and not reports["three-way"].warnings


def test_adaptive_strength_keeps_to_calls_of_its_own(exact):
    sizes, _ = compare(exact, ["NAG", "TPG"], adaptive=1.0)
    assert sizes == [4, 2]


def test_strengths_heads_and_layers(exact):
    where = {"pag_layers": "d1=0.5,m0", "pag_heads": "1", "pag_beta": 0.5, "tpg_layers": "d4=0.5,u1"}
    assert compare(exact, ["PAG", "TPG"], **where)[0] == [8]


@pytest.mark.parametrize("trouble", ["memory", "shapes"])
def test_what_does_not_fit_is_made_apart_and_told(trouble):
    torch.manual_seed(4)
    model = Forge((1, 1, 1, 0), 1, 16).eval()
    x, context, negatives = latents(4), text(77, 77, 77, 77), text(77, 77, seed=8)
    want, _ = forward(host(model), x, context, negatives, settings(*ALL), 6.0, finish=False)
    model.seen = ((),)  # as if it had been called before
    if trouble == "memory":
        model.largest = 4
    else:
        own = model.forward
        model.forward = lambda x, *a, **k: own(x, *a, **k) if len(x) <= 4 else 1 / torch.zeros(2)[3:][0]
    got, reports = forward(host(model), x, context, negatives, settings(*ALL, together=True), 6.0, finish=False)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert any("made apart" in w for w in reports["NAG"].warnings)
    assert all(report.acted for report in reports.values())


def test_forges_options_tell_what_was_added():
    torch.manual_seed(4)
    model = Forge((1, 1, 1, 0), 1, 16).eval()
    x, context, negatives = latents(4), text(77, 77, 77, 77), text(77, 77, seed=8)
    forward(host(model), x, context, negatives, settings("TPG", "PAG", together=True), 6.0, finish=False)
    assert model.seen == ((8, [1, 0, 0, 0], 8),)


def test_an_error_of_the_host_is_the_hosts(unet):
    """The model raises whatever is added: it is asked as the host asked, and its own error comes out."""
    victim = [m for m in unet.model.modules() if hasattr(m, "to_v")][-1].to_v

    def explode(*_):
        raise RuntimeError("the host's own")

    with (
        pytest.raises(RuntimeError, match="the host's own"),
        Guidance(settings("TPG", together=True), unet.model) as run,
    ):
        run.begin(TIMES)
        run.step_at(749)
        run.call([(0, 0)])
        handle = victim.register_forward_hook(explode)
        try:
            unet(latents(1), 749, text(77))
        finally:
            handle.remove()
    assert count_taps(unet.model) == 0 and "forward" not in vars(unet.model)


def test_forward_is_given_back_each_way(unet):
    options = settings("TPG", together=True)

    def begun():
        run = Guidance(options, unet.model)
        run.begin(TIMES)
        run.step_at(749)
        return run

    plain = unet(latents(1), 749, text(77))
    run = begun()
    assert count_taps(unet.model) == 3
    run.close()
    assert "forward" not in vars(unet.model)
    begun()  # lost
    assert remove_leftovers(unet.model) == 3 and "forward" not in vars(unet.model)
    run, between = begun(), unet.model.forward

    def theirs(*args, **kwargs):  # somebody wraps it while a step lasts
        return between(*args, **kwargs)

    unet.model.forward = theirs
    run.close()
    assert unet.model.forward is theirs and torch.equal(unet(latents(1), 749, text(77)), plain)
    del unet.model.forward
