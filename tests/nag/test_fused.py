"""The compiled rule: the eager one's results, its exact identities, and a note where no kernel can be made."""

import functools
import sys

import nag_tiny
import pytest
import torch

from extras.nag import fused
from extras.nag.direct import Direct
from extras.nag.effect import Effect, settle
from extras.nag.fused import FusedRule
from extras.nag.guidance import Guidance
from extras.nag.maths import normalized_guidance
from extras.nag.settings import Settings

DIRECTLY = ("_direct", "_direct_into")


@functools.cache
def no_compiler():
    """Why this machine cannot compile anything at all, or ""."""
    try:
        torch.compile(lambda x: x.abs().sum(-1) * 2)(torch.ones(3, 5))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""


@pytest.fixture(params=["called directly", "by torch.compile"])
def compiler(request, monkeypatch):
    if no_compiler():
        pytest.skip(f"torch.compile does not work here: {no_compiler()}")
    if request.param == "by torch.compile":
        for name in DIRECTLY:
            monkeypatch.setattr(fused, name, lambda *_: None)
        yield
    else:
        yield
        assert all(isinstance(getattr(fused, n), Direct) and not getattr(fused, n)._refused for n in DIRECTLY)


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has compiled nothing yet."""
    monkeypatch.setattr(fused, "_kernel", None)
    monkeypatch.setattr(fused, "_refused", "")
    monkeypatch.setattr(fused, "_sound", set())
    for name in DIRECTLY:
        own = getattr(fused, name)
        if isinstance(own, Direct):
            monkeypatch.setattr(fused, name, Direct(own._function, own._check))


def both(z_pos, z_neg, *numbers, into=False):
    """(eager, compiled) results with their Effects."""
    results = []
    for kernel in (None, FusedRule()):
        effect = Effect()
        place = torch.empty_like(z_pos) if into else None
        with torch.no_grad():
            out = normalized_guidance(z_pos, z_neg, *numbers, effect=effect, into=place, kernel=kernel)
        assert kernel is None or not kernel.note
        settle([effect])
        results.append((out, *effect.sums[0][0].tolist()))
    return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 64, 40), (2, 30, 64), (3, 7, 24)])
def test_it_is_the_eager_rule(compiler, dtype, shape):
    z_pos, z_neg = torch.randn(shape).to(dtype), torch.randn(shape[0], shape[1], shape[2]).to(dtype)
    (eager, *sums), (compiled, *other) = both(z_pos, z_neg, 4.0, 2.5, 0.5)
    assert compiled.dtype == dtype
    step = {torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    torch.testing.assert_close(compiled, eager, rtol=step, atol=step)
    assert other == pytest.approx(sums, rel=1e-5)


def test_numbers_strengths_by_row_and_places_may_differ(compiler):
    z_pos, z_neg = torch.randn(2, 9, 24), torch.randn(1, 9, 24)
    for numbers in ((15.0, 1.0, 1.0), (1.5, 6.0, 0.2), (4.0, 2.5, 0.5, torch.tensor([0.0, 0.7])[:, None, None])):
        (eager, *_), (compiled, *_) = both(z_pos, z_neg, *numbers, into=True)
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer (coverage) makes torch compile more frames")
def test_one_kernel_does_for_every_number_and_size(compiler, fresh):
    torch._dynamo.reset()
    before = torch._dynamo.utils.counters["frames"]["ok"]
    for n in range(1, 13):
        (eager, *_), (compiled, *_) = both(
            torch.randn(n, 3 * n, 40), torch.randn(n, 3 * n, 40), 1 + n, 1 + n / 4, n / 13
        )
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-5)
    assert torch._dynamo.utils.counters["frames"]["ok"] - before <= 3, "one more where there is little to do"


def test_a_torch_that_has_no_name_for_compiling(monkeypatch):
    """2.1, which A1111 pins."""
    assert fused._compiling() is False
    monkeypatch.delattr(torch.compiler, "is_compiling")
    monkeypatch.setattr(torch._dynamo, "is_compiling", lambda: True)
    assert fused._compiling() is True


def test_what_is_exact_stays_exact(compiler):
    z = torch.randn(2, 9, 24)
    z[0, 0] = 0
    assert torch.equal(both(z, z.clone(), 4.0, 2.5, 0.5)[1][0], z)
    assert torch.equal(both(torch.zeros_like(z), torch.zeros_like(z), 4.0, 2.5, 0.5)[1][0], torch.zeros_like(z))
    big = torch.full((1, 3, 24), 6e4, dtype=torch.float16)
    assert both(big, -big, 15.0, 5.0, 1.0)[1][0].isfinite().all()


def guided(monkeypatch, **values):
    """(prediction, report) of a guided call of a small UNet, and how often the kernel did the rule."""
    used = []
    real = FusedRule.__call__

    def watched(self, *args):
        used.append(real(self, *args))
        return used[-1]

    monkeypatch.setattr(FusedRule, "__call__", watched)
    unet = nag_tiny.Callable(nag_tiny.sd1())
    torch.manual_seed(1)
    x, context = torch.randn(1, 4, 8, 8), torch.randn(1, 77, nag_tiny.CONTEXT)
    with Guidance(Settings.parse({"scale": 4, **values}), unet.model, strict=True) as run, torch.no_grad():
        run.begin([999.0])
        run.set_negative(torch.randn(1, 77, nag_tiny.CONTEXT))
        run.step_at(999.0)
        run.call([(0, 0)])
        out = unet(x, 999.0, context)
    return out, run.report, used


def test_a_run_uses_it_when_asked_and_only_then(compiler, monkeypatch):
    plain, report, used = guided(monkeypatch)
    assert report.calls and not used
    compiled, other, used = guided(monkeypatch, fused=True)
    assert all(used) and len(used) == other.calls == report.calls
    assert not other.warnings
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)
    assert other.mean_change == pytest.approx(report.mean_change, rel=1e-4)


def test_where_torch_does_not_run_it_the_report_says_so(compiler, fresh, monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    plain, report, _ = guided(monkeypatch)
    with Watching():
        watched, other, _ = guided(monkeypatch, fused=True)
    torch.testing.assert_close(watched, plain, rtol=1e-4, atol=1e-5)
    assert other.calls == report.calls and other.warnings == [fused.UNUSED]
    _, third, used = guided(monkeypatch, fused=True)
    assert all(used) and not third.warnings, "who watched once has not spoiled it for what comes after"


def test_without_a_compiler_guidance_goes_on_and_the_report_says_why(fresh, monkeypatch):
    def broken(*args, **more):
        raise RuntimeError("no compiler\nand much more")

    plain, report, _ = guided(monkeypatch)
    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx_inner", broken)
    compiled, other, used = guided(monkeypatch, fused=True)
    assert torch.equal(compiled, plain) and other.calls == report.calls and not any(used)
    assert other.warnings == ["no fused kernel here, so the rule ran without (RuntimeError: no compiler)"]


def test_a_kernel_that_is_wrong_is_not_used(fresh, monkeypatch):
    def wrong(function, **more):
        def kernel(z_pos, z_neg, into, *others):
            lengths = function(z_pos, z_neg, into, *others)
            into *= 1.01
            return lengths

        return kernel

    plain, *_ = guided(monkeypatch)
    for name in DIRECTLY:
        monkeypatch.setattr(fused, name, lambda *_: None)
    monkeypatch.setattr(torch, "compile", wrong)
    compiled, report, used = guided(monkeypatch, fused=True)
    assert torch.equal(compiled, plain) and not any(used)
    assert "the compiled rule is" in report.warnings[0] and "off where features go to" in report.warnings[0]
