"""The account's sums: made for many layers at once, and the same as one by one."""

import nag_tiny
import pytest
import torch

from extras.nag import part
from extras.nag.effect import Effect, read, settle
from extras.nag.run import Run
from extras.nag.settings import Settings


@pytest.fixture
def unet_run():
    """(UNet, a run on it that has begun, inputs)."""
    unet = nag_tiny.Callable(nag_tiny.sd1())
    run = Run(Settings(enabled=True, scale=4.0), unet.model)
    run.begin([999.0, 500.0, 250.0])
    run.set_negative(torch.randn(1, 9, nag_tiny.CONTEXT))
    yield unet, run, (torch.randn(1, 4, 16, 16), 500.0, torch.randn(1, 9, nag_tiny.CONTEXT))
    run.close()


def lengths(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, 1, generator=draw), 1 + torch.rand(*shape, 1, generator=draw)


def expected(noted, share=1.0):
    moved, size = (sum(float(both[which].double().sum()) for both in noted) for which in (0, 1))
    return share * moved / size


@pytest.mark.parametrize("settled", [False, True])
def test_each_layer_has_its_own_change(settled):
    kept = [[lengths(1, 9, seed=1)], [lengths(1, 9, seed=2)], [lengths(2, 4, seed=3), lengths(1, 9, seed=4)]]
    kept += [[tuple(x.double() for x in lengths(1, 9, seed=5))], [lengths(7, seed=6)]]
    effects = [Effect(tuple(noted), share=0.1 + n) for n, noted in enumerate(kept)]
    if settled:
        settle(effects[:2])
        settle(effects)
        assert not any(effect.noted for effect in effects)
    assert read(effects) == pytest.approx([expected(noted, 0.1 + n) for n, noted in enumerate(kept)], rel=1e-6)
    assert read(effects[1:3]) == pytest.approx(read(effects)[1:3]), "as often as one likes"


def test_nothing_noted_is_no_change():
    assert read([]) == [] and read([Effect()]) == [0.0]
    assert read([Effect(((torch.zeros(1, 3, 1), torch.zeros(1, 3, 1)),))]) == [0.0]


def test_layers_of_one_shape_are_summed_in_one_go():
    effects = [Effect((lengths(1, 9, seed=n),)) for n in range(70)]
    with torch.profiler.profile() as profile:
        settle(effects)
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::sum"] == 1 and calls["aten::stack"] == 1
    assert len({id(totals) for effect in effects for totals, *_ in effect.sums}) == 1


def waiting(run):
    """Layers whose lengths are kept."""
    return sum(bool(effect.noted) for *_, effect in run.state.changes)


def test_what_is_noted_lasts_until_the_next_call_only(unet_run):
    """Else the lengths of a whole generation would lie in memory."""
    unet, run, inputs = unet_run
    for step in range(3):
        run.step_at(500.0)
        run.call([(0, 0)])
        assert not waiting(run), f"step {step}"
        unet(*inputs)
        assert waiting(run) == len(run.layers)
    report = run.close()
    assert report.calls == 3 * len(run.layers) and report.mean_change > 0


def test_sums_that_cannot_be_made_end_guidance_not_the_picture(unet_run, monkeypatch):
    unet, run, inputs = unet_run
    plain = unet(*inputs)
    run.step_at(500.0)
    run.call([(0, 0)])
    unet(*inputs)
    monkeypatch.setattr(part, "settle", lambda effects: 1 / 0)
    run.step_at(500.0)
    run.call([(0, 0)])
    torch.testing.assert_close(unet(*inputs), plain)
    assert "ZeroDivisionError" in run.close().error
