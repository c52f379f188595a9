"""Off is off, to the bit; hooks exist only while they act, and nothing is left behind."""

import nag_tiny
import pytest
import torch
from nag_runs import TIMES, each, guided, latents, text

from extras.nag import Run, Settings
from extras.nag.taps import count_taps, remove_leftovers

# -- off is off, to the bit ---


@pytest.mark.parametrize("settings", [Settings(scale=1), Settings(alpha=0)])
def test_neutral_settings_change_no_bit_and_are_told(unet, settings):
    x, context = latents(2), text(77, 77)
    out, report = guided(unet, x, context, text(77, seed=8), each(2), settings)
    assert torch.equal(out, unet(x, 749, context)) and report.mean_change == 0 and not report.acted
    assert any("unchanged" in w for w in report.warnings)


def test_strength_zero_installs_nothing(unet):
    x, context = latents(2), text(77, 77)
    plain = unet(x, 749, context)
    run = Run(Settings(), unet.model)
    run.set_negative(text(77, seed=8))
    run.step(0.0)
    assert count_taps(unet.model) == 0
    run.call(each(2))
    assert torch.equal(unet(x, 749, context), plain)
    assert run.close().calls == 0


def test_hooks_exist_only_inside_the_window(unet):
    x, context = latents(1), text(77)
    run = Run(Settings(start=0.17, end=0.5), unet.model)
    assert run.begin(TIMES) == []
    run.set_negative(text(77, seed=8))
    taps, same = [], []
    for t in TIMES:
        plain = unet(x, t, context) if not count_taps(unet.model) else None
        run.step_at(t)
        run.call(each(1))
        taps.append(count_taps(unet.model))
        out = unet(x, t, context)
        same.append(plain is not None and torch.equal(out, plain))
    report = run.close()
    assert taps == [0, 48, 48, 0]  # three hooks in each of 16 layers
    assert same[0] and not same[1]
    assert report.guided_steps == [2, 3] and report.calls == 32 and report.steps == 4
    assert count_taps(unet.model) == 0


def test_an_exception_in_the_model_leaves_nothing(unet):
    x, context = latents(1), text(77)
    plain = unet(x, 749, context)
    victim = [m for m in unet.model.modules() if hasattr(m, "to_v")][-1].to_v

    def explode(*_):
        raise RuntimeError("the host's own")

    with pytest.raises(RuntimeError, match="the host's own"), Run(Settings(), unet.model) as run:
        run.begin(TIMES)
        run.set_negative(text(77, seed=8))
        run.step_at(749)
        run.call(each(1))
        handle = victim.register_forward_hook(explode)
        try:
            unet(x, 749, context)
        finally:
            handle.remove()
    assert count_taps(unet.model) == 0 and torch.equal(unet(x, 749, context), plain)
    assert run.report.calls > 0


def test_leftovers_of_a_lost_run_are_removed_and_told(unet):
    x, context = latents(1), text(77)
    plain = unet(x, 749, context)
    lost = Run(Settings(), unet.model)
    lost.set_negative(text(77, seed=8))
    lost.step(1.0)
    assert count_taps(unet.model) == 48
    run = Run(Settings(), unet.model)
    assert run.leftovers == 48 and count_taps(unet.model) == 0
    assert torch.equal(unet(x, 749, context), plain)
    assert any("earlier run" in w for w in run.close().warnings)
    assert remove_leftovers(unet.model) == 0


def test_hooks_of_others_stay(unet):
    seen = []
    handle = unet.model.register_forward_hook(lambda *_: seen.append(1))
    to_q = next(m for m in unet.model.modules() if hasattr(m, "to_q")).to_q
    other = to_q.register_forward_hook(lambda *_: seen.append(2))
    try:
        guided(unet, latents(1), text(77), text(77, seed=8), each(1))
        remove_leftovers(unet.model)
        seen.clear()
        unet(latents(1), 749, text(77))
        assert set(seen) == {1, 2}
    finally:
        handle.remove()
        other.remove()


def test_close_is_final_and_may_be_repeated(unet):
    run = Run(Settings(), unet.model)
    run.set_negative(text(77, seed=8))
    run.step(1.0)
    assert run.close() is run.close() is run.report
    run.step(1.0)
    assert count_taps(unet.model) == 0


def test_a_cooldown_alone_is_not_called_without_effect():
    settings = Settings(scale=1, end=0.3, cooldown=0.7, cooldown_drop=0.5)
    with Run(settings, nag_tiny.ldm()) as run:
        run.begin(TIMES)
        for t in TIMES:
            run.step_at(t)
    assert [w for w in run.report.warnings if "only the cooldown acts" in w]
    assert not [w for w in run.report.warnings if "unchanged" in w]
