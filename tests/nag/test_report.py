"""A run says what it did and why it did not; its own errors never end the picture."""

import json

import nag_tiny
import pytest
import torch
from nag_runs import TIMES, each, guided, latents, text

from extras.nag import Run, Settings
from extras.nag.report import ENDED_EARLY, NO_STEP, NOTHING_GUIDED
from extras.nag.taps import count_taps

# -- never silent, never in the way ---


def test_an_error_of_ours_does_not_end_the_picture(unet, monkeypatch):
    x, context = latents(1), text(77)
    plain = unet(x, 749, context)
    run = Run(Settings(), unet.model)
    run.begin(TIMES)
    run.set_negative(text(77, seed=8))
    monkeypatch.setattr(run.branch, "features", lambda *_: 1 / 0)
    run.step_at(749)
    run.call(each(1))
    # the layer it happened in had its prompt filled up already: the same but for rounding, and after it to the bit
    torch.testing.assert_close(unet(x, 749, context), plain, atol=1e-5, rtol=1e-4)
    assert torch.equal(unet(x, 749, context), plain)
    run.step_at(499)
    assert count_taps(unet.model) == 0
    report = run.close()
    assert "ZeroDivisionError" in report.error and "ZeroDivisionError" in report.summary()
    assert report.infotext()["NAG error"] == report.error


def test_a_strict_run_raises(unet):
    with pytest.raises(ValueError, match="image is 5"), Run(Settings(), unet.model, strict=True) as run:
        run.set_negative(text(77, 77, seed=8))
        run.step(1.0)
        run.call([(0, 5)])
    assert count_taps(unet.model) == 0


@pytest.mark.parametrize(
    ("negative", "words"),
    [
        (torch.zeros(77, 5), "5 wide.*take 24"),
        ([], "empty list"),
        ([torch.zeros(24)], r"\(24,\)"),
        ([torch.zeros(0, 24)], r"\(0, 24\)"),
    ],
)
def test_negatives_that_do_not_fit_are_refused(unet, negative, words):
    with Run(Settings(), unet.model) as run, pytest.raises(ValueError, match=words):
        run.set_negative(negative)


def test_rows_beyond_the_batch_are_a_warning_not_a_guess(unet):
    x, context = latents(1), text(77)
    out, report = guided(unet, x, context, text(77, seed=8), [(3, 0)])
    assert torch.equal(out, unet(x, 749, context))
    assert any("could not be guided" in w for w in report.warnings)


def test_attention_that_bypasses_to_q_is_a_warning(sd1):
    class Bypass(torch.nn.Module):
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
            return attn.to_out[0](torch.nn.functional.linear(hidden_states, attn.to_q.weight))

    before = sd1.attn_processors
    sd1.set_attn_processor(Bypass())
    try:
        _, report = guided(nag_tiny.Callable(sd1), latents(1), text(77), text(77, seed=8), each(1))
    finally:
        sd1.set_attn_processor(before)
    assert report.calls == 0
    assert any("16 layers could not be guided" in w for w in report.warnings)
    assert any("no attention call" in w for w in report.warnings)


def test_a_run_that_never_calls_says_so(unet):
    with Run(Settings(), unet.model) as run:
        run.begin(TIMES)
        run.step_at(TIMES[0])
    assert run.report.warnings == [NOTHING_GUIDED]
    assert run.report.summary().startswith("NAG did not act")
    assert "NAG warning" in run.report.infotext()


def test_a_run_that_was_ended_before_it_could_act_is_no_malfunction(unet):
    for steps, told in ((0, NO_STEP), (1, ENDED_EARLY), (2, ENDED_EARLY)):
        with Run(Settings(start=0.6, end=1.0), unet.model) as run:
            run.begin([999.0, 749.0, 499.0, 249.0])
            for time in (999.0, 749.0)[:steps]:
                run.step_at(time)
        assert run.report.warnings == [told]


def test_an_empty_window_is_one_warning(unet):
    run = Run(Settings(start=0.3, end=0.4), unet.model)
    assert run.begin(TIMES) == run.begin(TIMES)
    report = run.close()
    assert len(report.warnings) == 1 and "No step is guided" in report.warnings[0]


def test_the_same_evaluation_is_counted_once(unet):
    with Run(Settings(), unet.model) as run:
        run.set_negative(text(77, seed=8))
        for key in (0, 0, 1):
            run.step(1.0, key=key)
            run.call(each(1))
            unet(latents(1), 749, text(77))
    assert [step["calls"] for step in run.report.per_step] == [32, 16]
    assert run.report.guided_steps == [1, 2]


def test_cfg_is_lowered_in_the_cooldown_only_and_not_below_one(unet):
    run = Run(Settings(start=0.17, end=0.5, cooldown=0.3), unet.model)
    run.begin(TIMES)
    seen = []
    for t in TIMES:
        run.step_at(t)
        seen.append((run.cfg_scale(7.0), run.cfg_scale(1.1), run.cfg_scale(1.0), run.cfg_scale(0.5)))
    run.close()
    assert seen[:3] == [(7, 1.1, 1, 0.5)] * 3
    assert seen[3] == (pytest.approx(5.6), 1.0, 1.0, 0.5)


def test_report_is_json_and_one_line(unet):
    _, report = guided(unet, latents(1), text(77), text(77, seed=8), each(1))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["calls"] == 16 and data["guided_steps"] == [2] and data["seconds"] > 0
    assert report.summary().startswith("NAG guided steps 2 of 4, 16 layers, 16 calls, mean change ")
    assert report.infotext()["NAG guided steps"] == "2 of 4"


def test_step_before_begin_is_refused(unet):
    with Run(Settings(), unet.model) as run, pytest.raises(ValueError, match="begin"):
        run.step_at(500)
