"""The rule's other ways and its account of itself: pieces, given places, gradients, kernels, what it changed."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from extras.nag import kept, maths
from extras.nag.effect import Effect, settle
from extras.nag.maths import normalized_guidance


@pytest.fixture
def z():
    """(z_pos, z_neg), (2, 6, 8); in one token the guided features grow beyond tau."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 6, 8, generator=generator), torch.randn(2, 6, 8, generator=generator)


def worked_out(z_pos, z_neg, scale, tau, alpha):
    g = z_neg + scale * (z_pos - z_neg)
    r = g.abs().sum(-1, keepdim=True) / z_pos.abs().sum(-1, keepdim=True)
    return alpha * g * r.clamp(max=tau) / r + (1 - alpha) * z_pos


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((math.nan, 2.5, 0.5), "scale is nan; allowed: a finite number"),
        ((math.inf, 2.5, 0.5), "scale is inf; allowed: a finite number"),
        ((3, math.inf, 0.5), "tau is inf; allowed: a finite number"),
        ((3, 2.5, math.nan), "alpha is nan; allowed: a finite number"),
        ((3, 2.5, 0.5, math.inf), "strength is inf; allowed: a finite number"),
        ((3, -0.1, 0.5), "tau is -0.1; allowed: 0 or more (settings: 1 or more)"),
        ((3, 2.5, 1.1), "alpha is 1.1; allowed: 0 to 1"),
        ((3, 2.5, -0.1), "alpha is -0.1; allowed: 0 to 1"),
        ((3, 2.5, 0.5, 1.1), "strength is 1.1; allowed: 0 to 1"),
        ((3, 2.5, 0.5, -0.1), "strength is -0.1; allowed: 0 to 1"),
    ],
)
def test_what_is_said_of_a_bad_number(z, numbers, words):
    with pytest.raises(ValueError) as told:
        normalized_guidance(*z, *numbers)
    assert str(told.value) == words


def test_the_ends_of_the_ranges_are_allowed(z):
    pos, neg = z
    torch.testing.assert_close(normalized_guidance(*z, 3, 2.5, 1), worked_out(*z, 3, 2.5, 1))
    torch.testing.assert_close(normalized_guidance(*z, 3, 0, 0.25), 0.75 * pos)
    torch.testing.assert_close(normalized_guidance(*z, -2, 2.5, 0.5, 1), worked_out(*z, -2, 2.5, 0.5))
    assert normalized_guidance(pos, neg, 3, 2.5, 0.5, 0) is pos, "nothing to do: the same tensor"
    assert normalized_guidance(pos, neg, 3, 2.5, 0) is pos and normalized_guidance(pos, neg, 1, 2.5, 0.5) is pos


def test_full_strength_is_the_default(z):
    assert torch.equal(normalized_guidance(*z, 3, 2.5, 0.5), normalized_guidance(*z, 3, 2.5, 0.5, 1.0))
    half = normalized_guidance(*z, 3, 2.5, 0.5, 0.5)
    torch.testing.assert_close(half, normalized_guidance(*z, 2, 2.5, 0.5))


def test_strength_by_token(z):
    strength = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 1.0])[:, None]
    out = normalized_guidance(*z, 5, 2.5, 0.6, strength)
    for token, s in enumerate((0.0, 0.25, 0.5, 0.75, 1.0, 1.0)):
        pos, neg = (x[:, token] for x in z)
        torch.testing.assert_close(out[:, token], normalized_guidance(pos, neg, 5, 2.5, 0.6, s))
    assert torch.equal(normalized_guidance(*z, 5, 2.5, 0.6, torch.zeros(6, 1)), z[0]), "a ramp at 0, as a tensor"


# -- the account ---


def change(effect):
    settle([effect])
    moved, size = (sum(sums[0][sums[which]].item() for sums in effect.sums) for which in (1, 2))
    return moved * effect.share, size


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_the_account_is_the_sum_of_changes_and_of_features(z, alpha):
    effect = Effect()
    out = normalized_guidance(*z, 5, 2.5, alpha, effect=effect)
    moved, size = change(effect)
    assert effect.share == alpha and len(effect.sums) == 1 and not effect.noted
    assert moved == pytest.approx((out - z[0]).abs().sum().item(), rel=1e-5)
    assert size == pytest.approx(z[0].abs().sum().item(), rel=1e-6)


@pytest.mark.parametrize("numbers", [(5, 2.5, 0.0), (1, 2.5, 0.5), (5, 2.5, 0.5, 0.0)])
def test_the_account_of_nothing_done(z, numbers):
    pos = z[0].to(torch.float16)
    effect, into = Effect(), torch.full_like(pos, 7)
    assert normalized_guidance(pos, z[1], *numbers, effect=effect) is pos
    assert normalized_guidance(pos, z[1], *numbers, effect=effect, into=into) is into and torch.equal(into, pos)
    assert [x.shape for both in effect.noted for x in both] == [(2, 6, 1)] * 4
    assert {x.dtype for both in effect.noted for x in both} == {torch.float32}
    assert change(effect) == (0, pytest.approx(2 * pos.float().abs().sum().item()))


# -- where it goes ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_place_for_the_result(z, dtype):
    pos, neg = (x.to(dtype) for x in z)
    into = torch.full_like(pos, 7)
    out = normalized_guidance(pos, neg, 5, 2.5, 0.6, into=into)
    assert out is into and torch.equal(out, normalized_guidance(pos, neg, 5, 2.5, 0.6))
    plain, _, _ = maths.rule(pos, neg, 4.0, 2.5, 0.6, None)
    assert plain.dtype == dtype and torch.equal(plain, out)


@pytest.mark.parametrize("sign", [1, -1])
def test_float16_stops_at_its_limit(sign):
    pos, neg = torch.full((1, 2), 60000.0 * sign).half(), torch.full((1, 2), -60000.0 * sign).half()
    limit = torch.finfo(torch.float16).max
    for into in (None, torch.zeros(1, 2).half()):
        assert normalized_guidance(pos, neg, 9, 8, 1, into=into).tolist() == [[sign * limit] * 2]


@pytest.mark.parametrize("which", ["pos", "neg"])
def test_gradients_flow_where_they_are_asked_for(z, which):
    pos, neg = z[0].clone(), z[1].clone()
    wanted = pos if which == "pos" else neg
    wanted.requires_grad_(True)
    effect = Effect()
    out = normalized_guidance(pos, neg, 5, 2.5, 0.6, effect=effect)
    torch.testing.assert_close(out.detach(), worked_out(*z, 5, 2.5, 0.6))
    out.sum().backward()
    again = (pos if which == "pos" else neg).detach().clone().requires_grad_(True)
    worked_out(again if which == "pos" else z[0], again if which == "neg" else z[1], 5, 2.5, 0.6).sum().backward()
    torch.testing.assert_close(wanted.grad, again.grad, rtol=1e-4, atol=1e-4)
    assert not any(length.requires_grad for length in effect.noted[0])
    assert change(effect)[0] == pytest.approx((out - pos).abs().sum().item(), rel=1e-5)
    with torch.no_grad():
        assert torch.equal(normalized_guidance(pos, neg, 5, 2.5, 0.6), out)
    into = torch.zeros_like(z[0])
    given = normalized_guidance(pos, neg, 5, 2.5, 0.6, into=into)
    assert given is into and given.requires_grad and torch.equal(given, out)


def test_a_kernel_takes_the_rules_place_or_leaves_it(z):
    seen = []

    def kernel(*arguments):
        seen.append(arguments)
        return torch.full((2, 6, 8), 3.0), (torch.full((2, 6, 1), 5.0), torch.full((2, 6, 1), 9.0))

    effect = Effect()
    out = normalized_guidance(*z, 5, 2.5, 0.6, 0.5, effect=effect, kernel=kernel)
    pos, neg, *numbers, into = seen[0]
    assert pos is z[0] and neg is z[1] and numbers == [2.0, 2.5, 0.6] and into is None
    assert bool((out == 3).all()) and change(effect) == (pytest.approx(0.6 * 12 * 5), 12 * 9)
    refused = normalized_guidance(*z, 5, 2.5, 0.6, kernel=lambda *arguments: None)
    assert torch.equal(refused, normalized_guidance(*z, 5, 2.5, 0.6))
    pos = z[0].clone().requires_grad_(True)
    normalized_guidance(pos, z[1], 5, 2.5, 0.6, kernel=kernel)
    assert len(seen) == 1, "not where gradients are wanted"


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_both_ways_of_the_limit_agree(tau):
    """min(r, tau) / r by a number and by a tensor, where one or both tokens are nothing, too."""
    norm_pos, norm = torch.tensor([0.0, 0.0, 3.0, 3.0, 3.0, 1e-30]), torch.tensor([0.0, 2.0, 0.0, 2.0, 40.0, 1e30])
    expected = torch.tensor([1.0, 0.0, 1.0, 1.0, tau * 3 / 40, 0.0])
    number, tensor = maths._shrink(norm_pos, norm, tau), maths._shrink(norm_pos, norm, torch.tensor(tau))
    torch.testing.assert_close(number, expected)
    torch.testing.assert_close(tensor[1:], expected[1:])
    assert tensor[0] == 0, "times a token that is nothing"


def test_what_is_kept_serves_every_mode(z, monkeypatch):
    monkeypatch.setattr(kept, "_kept", {})
    with torch.inference_mode():
        first = normalized_guidance(*z, 5, 2.5, 0.6)
    pos = z[0].clone().requires_grad_(True)
    assert torch.equal(normalized_guidance(pos, z[1], 5, 2.5, 0.6).detach(), first) and len(kept._kept) == 2


# -- pieces ---


def in_pieces(monkeypatch, size):
    """So many numbers at once, and how many pieces were worked on since."""
    monkeypatch.setattr(maths, "_PIECE", size)
    calls, rule = [], maths.rule

    def counted(z_pos, *rest):
        calls.append(z_pos.shape)
        return rule(z_pos, *rest)

    monkeypatch.setattr(maths, "rule", counted)
    return calls


@pytest.mark.parametrize(("size", "pieces"), [(1, 6), (16, 6), (17, 6), (31, 6), (32, 3), (48, 2), (64, 2), (96, 1)])
def test_pieces_are_the_whole(z, monkeypatch, size, pieces):
    """96 numbers in 6 tokens: 16 a token, over the batch."""
    whole, account = normalized_guidance(*z, 5, 2.5, 0.6), Effect()
    normalized_guidance(*z, 5, 2.5, 0.6, effect=account)
    calls, effect = in_pieces(monkeypatch, size), Effect()
    assert torch.equal(normalized_guidance(*z, 5, 2.5, 0.6, effect=effect), whole)
    assert len(calls) == pieces and sum(shape[-2] for shape in calls) == 6
    assert change(effect) == pytest.approx(change(account), rel=1e-6)


@pytest.mark.parametrize("neg", [(6, 8), (1, 6, 8), (1, 1, 8), (8,), (2, 1, 8)], ids=str)
def test_pieces_of_what_broadcasts(z, monkeypatch, neg):
    other = torch.randn(neg, generator=torch.Generator().manual_seed(2))
    whole = normalized_guidance(z[0], other, 5, 2.5, 0.6)
    torch.testing.assert_close(whole, worked_out(z[0], other, 5, 2.5, 0.6))
    calls = in_pieces(monkeypatch, 40)
    assert torch.equal(normalized_guidance(z[0], other, 5, 2.5, 0.6), whole) and len(calls) == 3


@pytest.mark.parametrize("shape", [(6, 1), (2, 1, 1), (2, 6, 1), (1,)], ids=str)
def test_pieces_of_a_strength(z, monkeypatch, shape):
    strength = torch.rand(shape, generator=torch.Generator().manual_seed(4))
    whole = normalized_guidance(*z, 5, 2.5, 0.6, strength)
    calls = in_pieces(monkeypatch, 40)
    assert torch.equal(normalized_guidance(*z, 5, 2.5, 0.6, strength), whole) and len(calls) == 3


TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("wanted", TYPES, ids=str)
@pytest.mark.parametrize("given", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 6, 8), (6, 8), (1, 1, 8)], ids=str)
def test_pieces_in_every_type(z, monkeypatch, wanted, given, shape):
    pos = z[0].to(wanted)
    neg = z[1].flatten()[: math.prod(shape)].view(shape).to(given)
    whole = normalized_guidance(pos, neg, 5, 2.5, 0.6)
    calls = in_pieces(monkeypatch, 40)
    assert torch.equal(normalized_guidance(pos, neg, 5, 2.5, 0.6), whole) and len(calls) == 3
    exact = worked_out(pos.double(), neg.double(), 5, 2.5, 0.6)
    assert torch.allclose(whole.double(), exact, rtol=2 * torch.finfo(wanted).eps, atol=4 * torch.finfo(wanted).eps)


class Made(TorchDispatchMode):
    """Which operators make memory of at least ``size`` numbers, and how often numbers are only copied."""

    def __init__(self, size):
        super().__init__()
        self.size, self.copies, self.names, self.known = size, 0, [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        name = func.overloadpacket.__name__
        self.copies += name == "copy_" and args[0].numel() >= self.size
        for tensor in (*args, *(kwargs or {}).values()):
            if isinstance(tensor, torch.Tensor):
                self.known.add(tensor.untyped_storage().data_ptr())
        if isinstance(out, torch.Tensor) and out.numel() >= self.size:
            if out.untyped_storage().data_ptr() not in self.known:
                self.names.append(name)
            self.known.add(out.untyped_storage().data_ptr())
        return out


@pytest.mark.parametrize(("dtype", "copies"), [(torch.float32, 0), (torch.bfloat16, 3), (torch.float16, 3)], ids=str)
def test_pieces_work_in_the_same_memory_and_copy_only_to_change_the_type(dtype, copies, monkeypatch):
    """Per piece: both widened and the result narrowed, or nothing."""
    pos, neg = (torch.rand(4, 64, generator=torch.Generator().manual_seed(i)).to(dtype) for i in (1, 2))
    into = torch.empty_like(pos)
    in_pieces(monkeypatch, 64)
    with Made(64) as made:
        normalized_guidance(pos, neg, 5, 2.5, 0.6, into=into)
    assert made.names == ["new_empty"], "the spare ones; the lengths are smaller than a piece"
    assert made.copies == 4 * copies


def test_a_single_token_is_one_piece(monkeypatch):
    calls = in_pieces(monkeypatch, 1)
    pos, neg = torch.tensor([3.0, -1.0]), torch.tensor([1.0, 1.0])
    torch.testing.assert_close(normalized_guidance(pos, neg, 2, 8, 0.5), worked_out(pos, neg, 2, 8, 0.5))
    assert len(calls) == 1
    assert normalized_guidance(torch.zeros(0, 8), torch.zeros(0, 8), 2, 8, 0.5).shape == (0, 8)


def test_threads_have_a_piece_each(z, monkeypatch):
    calls = in_pieces(monkeypatch, 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    normalized_guidance(*z, 5, 2.5, 0.6)
    assert len(calls) == 2 and calls[0] == (2, 3, 8)


def test_types_are_widened_by_the_wider_of_both(z):
    pos, neg = z
    out = normalized_guidance(pos, neg.double(), 5, 2.5, 0.6)
    assert out.dtype == torch.float32
    exact = worked_out(pos.double(), neg.double(), 5, 2.5, 0.6)
    assert torch.equal(out, exact.float()) or (out - exact).abs().max() < 1e-6
    for one, other in ((pos, neg.double()), (pos.double(), neg)):
        _, moved, size = maths.rule(one, other, 4.0, 2.5, 0.6, None)
        assert moved.dtype == size.dtype == torch.float64


# -- what these machines do not have ---


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU, and is not: the ways that are taken there are taken here."""

    is_cuda = property(lambda self: True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_ways_of_a_gpu_are_those_of_a_cpu(z, dtype):
    pos, neg = (x.to(dtype) for x in z)
    here, there = (maths.rule(a, b, 4.0, 2.5, 0.6, None) for a, b in ((pos, neg), (pos.as_subclass(OnGpu), neg)))
    assert type(there[0]) is OnGpu
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b.as_subclass(torch.Tensor), rtol=1e-5, atol=1e-6)


class Asked(TorchDispatchMode):
    """Which operators are asked for."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("known", [True, False])
def test_devices_that_are_little_known_are_asked_for_plain_operators(z, monkeypatch, known):
    """No fmin, which MPS lacked for long, and no result written into a view."""
    whole, account = normalized_guidance(*z, 5, 2.5, 0.6), Effect()
    monkeypatch.setattr(maths, "_WELL_KNOWN", ("cpu",) if known else ())
    with Asked() as asked:
        out = normalized_guidance(*z, 5, 2.5, 0.6, effect=account)
    torch.testing.assert_close(out, whole)
    assert change(account)[1] == pytest.approx(z[0].abs().sum().item(), rel=1e-6)
    assert any("fmin" in name for name in asked.names) == known
    assert any(name.endswith(".out") or "_out" in name for name in asked.names) == known


def test_lengths_go_where_they_are_asked_for_on_a_gpu_too(z):
    pos, neg = (x.as_subclass(OnGpu) for x in z)
    lengths = torch.full((2, 2, 6, 1), -1.0)
    _, moved, size = maths.rule(pos, neg, 4.0, 2.5, 0.6, torch.empty_like(pos), lengths)
    assert torch.equal(lengths[0], moved) and torch.equal(lengths[1], size) and bool((lengths > 0).all())


def test_small_numbers_are_kept_where_the_features_are(z, monkeypatch):
    asked, own = [], maths.kept
    monkeypatch.setattr(maths, "kept", lambda *kind: asked.append(kind) or own(*kind))
    normalized_guidance(*(x.double() for x in z), 5, 2.5, 0.6)
    assert asked == [(number, torch.float64, z[0].device) for number in (0.0, 1.0)]


def test_what_is_written_for_a_compiler_is_the_same_rule(z):
    numbers = [torch.tensor(number) for number in (4.0, 2.5, 0.6)]
    for a, b in zip(maths.rule(*z, *numbers, None), maths.rule(*z, *numbers, None, compiled=True), strict=True):
        torch.testing.assert_close(a, b)


def test_on_another_device_nothing_is_cut_into_pieces(z, monkeypatch):
    calls = in_pieces(monkeypatch, 1)
    out = normalized_guidance(*(x.to("meta") for x in z), 5, 2.5, 0.6)
    assert out.device.type == "meta" and out.shape == z[0].shape and calls == [(2, 6, 8)]


def test_tokens_without_a_batch_are_cut_too(z, monkeypatch):
    whole = normalized_guidance(z[0][0], z[1][0], 5, 2.5, 0.6)
    calls = in_pieces(monkeypatch, 16)
    assert torch.equal(normalized_guidance(z[0][0], z[1][0], 5, 2.5, 0.6), whole) and calls == [(2, 8)] * 3


def test_float32_stays_float32(z):
    assert {x.dtype for x in maths.rule(*z, 4.0, 2.5, 0.6, None)} == {torch.float32}
    assert [x.dtype for x in maths.rule(*(x.half() for x in z), 4.0, 2.5, 0.6, None)] == [
        torch.float16, torch.float32, torch.float32,
    ]  # fmt: skip


def test_a_small_strength_in_low_precision_is_not_lost(z):
    """1 + 2^-12 is 1 in float16."""
    push = torch.full((6, 1), 2.0**-12, dtype=torch.float16)
    out, moved, _ = maths.rule(*z, push, 2.5, 1.0, None)
    torch.testing.assert_close(out, worked_out(*z, 1 + 2.0**-12, 2.5, 1.0))
    assert moved.min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_alpha_as_a_tensor(z, dtype):
    pos, neg = (x.to(dtype) for x in z)
    number, tensor = (maths.rule(pos, neg, 4.0, 2.5, alpha, None) for alpha in (0.6, torch.tensor(0.6)))
    for a, b in zip(number, tensor, strict=True):
        torch.testing.assert_close(a, b)
