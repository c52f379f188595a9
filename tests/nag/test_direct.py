"""A compiled function called without torch's checks: its own are enough, and where anything is amiss there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_fused import no_compiler

from extras.nag.direct import Direct

ROOT = Path(__file__).resolve().parents[2]
CALLS = []


def lengths(out, a):
    return out.abs().sum(-1, keepdim=True), a.abs().sum(-1, keepdim=True)


def function(a, b, factor):
    CALLS.append(tuple(a.shape))
    out = a - factor * b
    return out, *lengths(out, a)


def function_into(a, b, into, factor):
    CALLS.append(tuple(a.shape))
    into.copy_(a - factor * b)
    return lengths(into, a)


def check(features, numbers, made):
    a, b, *into = features
    out = into[0] if into else made[0]
    torch.testing.assert_close(out, (a - numbers[0] * b).to(out.dtype), atol=1e-5, rtol=1e-5)


@pytest.fixture
def direct():
    if no_compiler():
        pytest.skip(f"nothing can be compiled here: {no_compiler()}")
    CALLS.clear()
    return Direct(function, check)


def drawn(*shape, dtype=torch.float32):
    """(two tensors, numbers), as it is called."""
    return tuple(torch.randn(*shape).to(dtype) for _ in range(2)), (torch.tensor(0.5),)


@pytest.mark.parametrize("where", ["new", "into"])
def test_one_is_made_for_all_sizes_and_numbers(direct, where):
    direct = direct if where == "new" else Direct(function_into, check)
    sizes = [(5, 5), (2, 640), (1, 4096, 40), (40, 4096), (3, 111, 320), (17, 1), (1, 1, 24), (2, 512, 1024), (5, 5)]
    for n, size in enumerate(sizes):
        (a, b), _ = drawn(*size)
        into = [] if where == "new" else [torch.full_like(a, 7)]
        made = direct((a, b, *into), (torch.tensor(float(n)),))
        assert (made is not None) == (1 not in (size[-1], a[..., 0].numel()))
        if made is not None:
            out, moved, length = [*into, *made]
            torch.testing.assert_close(out, a - n * b)
            torch.testing.assert_close((moved, length), lengths(out, a), rtol=1e-4, atol=1e-2)
    assert len(CALLS) == 1, "written out once, and compiled"


def test_it_serves_in_every_mode_and_type(direct):
    for dtype, near in ((torch.float32, 1e-6), (torch.bfloat16, 4e-2), (torch.float16, 4e-3)):
        direct = Direct(function, lambda *_: None)
        for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
            with mode():
                (a, b), numbers = drawn(9, 24, dtype=dtype)
                torch.testing.assert_close(direct((a, b), numbers)[0], a - 0.5 * b, atol=near, rtol=near)


@pytest.mark.parametrize(
    "unfit",
    [
        lambda a, b: (a.T, b.T),
        lambda a, b: (a, b[:4]),
        lambda a, b: (a.clone().requires_grad_(), b),
        lambda a, b: (a.to("meta"), b.to("meta")),
        lambda a, b: (a[:, ::2], b[:, ::2]),
        lambda a, b: (a[:1], b[:1]),
    ],
)
def test_what_does_not_fit_is_left_to_others(direct, unfit):
    features, numbers = drawn(9, 24)
    assert direct(unfit(*features), numbers) is None
    assert not CALLS, "not even made for it"
    assert direct(*drawn(9, 24)), "and it still serves what fits"


def test_each_shape_is_compared_once_and_a_wrong_one_ends_it(direct):
    compared = []

    def watching(features, *rest):
        compared.append(tuple(features[0].shape))
        if features[0].shape[1] == 13:
            raise ArithmeticError("wrong")

    direct = Direct(function, watching)
    for size in ((9, 24), (9, 24), (7, 24), (9, 24)):
        assert direct(*drawn(*size))
    assert compared == [(1, 9, 24), (1, 7, 24)]
    assert not direct(*drawn(13, 24)) and not direct(*drawn(9, 24))
    assert compared == [(1, 9, 24), (1, 7, 24), (1, 13, 24)]


def test_where_none_can_be_made_it_is_tried_once(direct, monkeypatch):
    tried = []
    inner = "torch._inductor.compile_fx.compile_fx_inner"
    monkeypatch.setattr(inner, lambda *_, **__: tried.append(1) or 1 / 0)
    assert not direct(*drawn(9, 24)) and not direct(*drawn(9, 24))
    assert tried == [1]


def test_torch_prints_nothing_while_it_is_made(direct, tmp_path):
    """A user who ticks the box reads the console: torch's cache printed a traceback there, for a name of a type."""
    code = (
        "import torch; from extras.nag.fused import FusedRule; "
        "a = torch.randn(1, 9, 24); rule = FusedRule(); "
        "assert rule(a, -a, 3.0, 2.5, 0.5, None) and rule(a, -a, 3.0, 2.5, 0.5, torch.empty_like(a)) and not rule.note"
    )
    env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "Traceback" not in ran.stderr and not ran.stdout, ran.stderr
