"""An error that guidance survives holds on to nothing, and memory that was full once is tried again."""

import gc
import weakref

import nag_tiny
import pytest
import torch

from extras.nag import errors, fused, taps
from extras.nag.direct import Direct
from extras.nag.fused import FusedRule
from extras.nag.guidance import Guidance
from extras.nag.joint import shared
from extras.nag.joint.shared import Sharing
from extras.nag.settings import Settings


def raised(text="full"):
    big = torch.empty(1000)
    raised.big = weakref.ref(big)
    raise torch.cuda.OutOfMemoryError(text)


def test_its_frames_are_text():
    try:
        raised()
    except RuntimeError as error:
        kept = errors.without_frames(error)
    gc.collect()
    assert raised.big() is None and kept.__traceback__ is None
    told = errors.trace_of(kept)
    assert "in raised" in told and told.rstrip().endswith("OutOfMemoryError: full")
    assert errors.trace_of(errors.without_frames(kept)) == told, "told once and for all"
    assert errors.trace_of(ValueError("no frames")).strip() == "ValueError: no frames"


def test_what_is_memory():
    assert errors.out_of_memory(torch.cuda.OutOfMemoryError("x")) and errors.out_of_memory(MemoryError())
    assert not errors.out_of_memory(RuntimeError("out of memory"))


@pytest.mark.parametrize("values", [{"scale": 4}, {"nag": False, "pag_scale": 3}, {"nag": False, "three_way_scale": 3}])
def test_a_run_that_failed_lets_go_of_the_pass(monkeypatch, values):
    """Of the features of the layer it failed in, and of the frames of the network."""
    unet = nag_tiny.Callable(nag_tiny.sd1())
    for name in ("extras.nag.taps.normalized_guidance", "extras.nag.predictions.attention.mixed",
                 "extras.nag.predictions.negative.normalized_prediction"):  # fmt: skip
        monkeypatch.setattr(name, lambda *args, **more: raised())
    inputs = torch.randn(1, 4, 16, 16), 500.0, torch.randn(1, 77, nag_tiny.CONTEXT)
    plain = unet(*inputs)
    with Guidance(Settings.parse(values), unet.model) as run, torch.no_grad():
        run.begin([999.0, 500.0])
        run.set_negative(torch.randn(1, 77, nag_tiny.CONTEXT))
        run.step_at(500.0)
        run.call([(0, 0)])
        torch.testing.assert_close(unet(*inputs), plain)
        gc.collect()
        assert isinstance(run.error, torch.cuda.OutOfMemoryError) and raised.big() is None
    assert "OutOfMemoryError: full" in run.report.error and "in raised" in errors.trace_of(run.error)


def test_the_compiled_rule_is_tried_again(monkeypatch):
    calls = []

    def once(*args):
        calls.append(1)
        raised()

    z = torch.randn(1, 9, 24)
    monkeypatch.setattr(fused, "_refused", "")
    monkeypatch.setattr(fused, "_direct_into", lambda *_: None)
    monkeypatch.setattr(fused, "_by_torch", lambda: once)
    rule = FusedRule()
    for count in (1, 2):
        assert not rule(z, -z, 3.0, 2.5, 0.5, torch.empty_like(z)) and len(calls) == count
    assert "OutOfMemoryError" in rule.note and not fused._refused
    direct = Direct(lambda *_: None, lambda *_: None)
    monkeypatch.setattr(direct, "_make", once)
    for count in (3, 4):
        assert direct((z, z), (torch.tensor(1.0),)) is None and len(calls) == count


def test_attention_in_parts_is_tried_again(monkeypatch):
    q, k, v = torch.randn(3, 1, 2, 12, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(shared, "_refused", set())
    own = shared._with_sums
    monkeypatch.setattr(shared, "_with_sums", lambda *_: raised())
    whole = attention(q, k, v)
    with Sharing([0], 2, 4, 8, True) as first:
        assert torch.equal(attention(q, k, v), whole)
    assert first.part is None and not shared._refused
    monkeypatch.setattr(shared, "_with_sums", own)
    with Sharing([0], 2, 4, 8, True) as second:
        torch.testing.assert_close(attention(q, k, v), whole)
    assert second.part is not None


def test_strict_runs_raise_it_as_it_is(monkeypatch):
    unet = nag_tiny.Callable(nag_tiny.sd1())
    monkeypatch.setattr(taps, "normalized_guidance", lambda *args, **more: raised("strict"))
    with Guidance(Settings.parse({"scale": 4}), unet.model, strict=True) as run:
        run.begin([999.0, 500.0])
        run.set_negative(torch.randn(1, 77, nag_tiny.CONTEXT))
        run.step_at(500.0)
        run.call([(0, 0)])
        with pytest.raises(torch.cuda.OutOfMemoryError, match="strict") as told:
            unet(torch.randn(1, 4, 16, 16), 500.0, torch.randn(1, 77, nag_tiny.CONTEXT))
    assert len(told.traceback) > 3
