"""Keys filled up for a CPU: the features are those of the text alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nag_runs import TIMES, each, latents, text
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from extras.nag import Run, Settings
from extras.nag.branches import padding
from extras.nag.branches.padding import KeysValues, filling

CLOSE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def softmax_attention(q, k, v):
    """Written out, in float64."""
    q, k, v = (x.double() for x in (q, k, v))
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@given(tokens=st.integers(1, 100), negatives=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_features_are_those_of_the_text(dtype, tokens, negatives, seed):
    draw = torch.Generator().manual_seed(seed)
    # keys far from the queries: a token filled in, had it any attention, would get all of it
    q = torch.randn(negatives, 3, 9, 8, generator=draw).abs().to(dtype)
    k = -3 * torch.randn(negatives, 3, tokens, 8, generator=draw).abs().to(dtype)
    v = torch.randn(negatives, 3, tokens, 8, generator=draw).to(dtype)
    text = KeysValues(k, v).padded()
    assert text.keys.shape[-2] == text.values.shape[-2] == -(-tokens // 16) * 16
    assert (text.mask is None) == (tokens % 16 == 0)
    out = text.attend(q)
    assert out.dtype == dtype
    assert float((out.double() - softmax_attention(q, k, v)).abs().max()) <= CLOSE[dtype]


def test_where_it_is_not_faster_nothing_is_filled_in(monkeypatch):
    text = KeysValues(torch.ones(1, 1, 77, 4), torch.ones(1, 1, 77, 4))
    on_another_device = KeysValues(text.keys.to("meta"), text.values.to("meta"))
    assert on_another_device.padded() is on_another_device
    monkeypatch.setattr(padding, "_MASKS_ARE_FAST", False)
    assert text.padded() is text


# as diffusers, A1111 and Forge do; as einops does; through a copy
WAYS = {
    "view": lambda x: x.view(*x.shape[:2], 3, 8).transpose(1, 2),
    "rearrange": lambda x: torch.permute(torch.reshape(x, (2, -1, 3, 8)), (0, 2, 1, 3)),
    "unflatten": lambda x: x.unflatten(-1, (3, 8)).permute(0, 2, 1, 3).contiguous(),
    "reshape": lambda x: x.reshape(x.size(0), -1, 3, 8).transpose(1, 2),
}


def drawn(tokens, dtype, rows=2):
    """Queries, keys, values with heads merged; a token filled in, had it any attention, would get all of it."""
    q, k, v = torch.randn(rows, 9, 24).abs(), -3 * torch.randn(rows, tokens, 24).abs(), torch.randn(rows, tokens, 24)
    return (x.to(dtype) for x in (q, k, v))


@pytest.fixture
def met():
    """How many keys torch's kernel was given, call by call."""
    seen = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "flash_attention" in str(func):
                seen.append(args[1].shape[-2])
            return func(*args, **(kwargs or {}))

    with Watching():
        yield seen


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("tokens", [1, 15, 16, 77, 154])
def test_a_hosts_own_attention_is_filled_up(way, dtype, tokens):
    q, k, v = drawn(tokens, dtype)
    into = WAYS[way]
    keys = into(filling(k))
    assert keys.shape == (2, 3, tokens, 8)
    out = scaled_dot_product_attention(into(q), keys, into(v), attn_mask=None, dropout_p=0.0, is_causal=False)
    assert type(out) is torch.Tensor and out.dtype == dtype
    expected = softmax_attention(into(q), into(k), into(v))
    assert float((out.double() - expected).abs().max()) <= CLOSE[dtype]
    by_name = scaled_dot_product_attention(query=into(q), key=keys, value=into(v), scale=0.1)
    plain = scaled_dot_product_attention(into(q), into(k), into(v), scale=0.1)
    torch.testing.assert_close(by_name, plain, atol=CLOSE[dtype], rtol=0)


def test_what_is_not_plain_attention_is_the_hosts_own(met):
    q, k, v = drawn(77, torch.float32)
    into = WAYS["view"]
    q, keys, plain, v = into(q), into(filling(k)), into(k), into(v)
    bias = torch.randn(2, 3, 9, 77)
    for more in ({"attn_mask": bias}, {"attn_mask": bias > 0}, {"is_causal": True}):
        expected = scaled_dot_product_attention(q, plain, v, **more)
        assert torch.equal(scaled_dot_product_attention(q, keys, v, **more), expected)
    assert torch.equal(scaled_dot_product_attention(q, keys, v, bias), scaled_dot_product_attention(q, plain, v, bias))
    assert torch.equal(scaled_dot_product_attention(q, keys, v, None), scaled_dot_product_attention(q, plain, v))
    merged = [x.flatten(0, 1) for x in (q, plain, v)]
    of_three = scaled_dot_product_attention(merged[0], keys.flatten(0, 1), merged[2])
    assert torch.equal(of_three, scaled_dot_product_attention(*merged))
    # what others make of the keys is no longer ours
    made = [keys + 1, torch.cat([keys, keys]), q @ keys.transpose(-1, -2), keys[0], keys.double(), keys.detach()]
    made += [torch.einsum("bhid,bhjd->bhij", q, keys), torch.nn.functional.softmax(keys, -1)]
    assert {type(x) for x in made} == {torch.Tensor}
    assert torch.equal(q @ keys.transpose(-1, -2), q @ plain.transpose(-1, -2))
    assert torch.equal(keys.sum(dim=-1, keepdim=True), plain.sum(dim=-1, keepdim=True))
    assert 80 not in met
    # and what is plain attention is filled up, however it is called
    scaled_dot_product_attention(q, keys, v)
    scaled_dot_product_attention(q, keys, value=v)
    scaled_dot_product_attention(query=q, key=keys, value=v, scale=0.1)
    assert met[-3:] == [80, 80, 80]


@pytest.mark.parametrize("victim", ["_mask", "pad"])
def test_where_filling_up_fails_the_hosts_own_attention_goes_on(monkeypatch, met, victim):
    q, k, v = map(WAYS["view"], drawn(77, torch.float32))
    keys = WAYS["view"](filling(k.transpose(1, 2).flatten(2)))
    monkeypatch.setattr(padding, victim, lambda *_: 1 / 0)
    assert torch.equal(scaled_dot_product_attention(q, keys, v), scaled_dot_product_attention(q, k, v))
    assert met == [77, 77]
    with pytest.raises(RuntimeError, match="must match"):  # the host's own mistake is told as ever
        scaled_dot_product_attention(q, keys, v[:, :2])


def test_keys_filled_up_learn_as_others_do():
    found = []
    for way in (lambda x: x, filling):
        torch.manual_seed(3)
        q, k, v = (x.requires_grad_() for x in drawn(77, torch.float32))
        into = WAYS["view"]
        scaled_dot_product_attention(into(q), into(way(k)), into(v)).square().sum().backward()
        found.append([q.grad, k.grad, v.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_keys_stay_themselves_where_it_is_not_faster(monkeypatch):
    assert filling(eighty := torch.ones(1, 80, 24)) is eighty
    assert filling(elsewhere := torch.ones(1, 77, 24, device="meta")) is elsewhere
    assert filling(parameter := torch.nn.Parameter(torch.ones(1, 77, 24))) is parameter
    monkeypatch.setattr(padding, "_MASKS_ARE_FAST", False)
    assert filling(keys := torch.ones(1, 77, 24)) is keys


@pytest.mark.parametrize(
    ("rows", "settings", "filled"),
    [
        (each(2), {}, True),
        (each(1), {}, False),  # of two: the other one is not ours to touch
        (each(2), {"scale": 1.0}, False),
        (each(2), {"alpha": 0.0}, False),
    ],
)
def test_in_a_guided_call_the_prompt_is_filled_up_where_all_is_guided(sd1, met, rows, settings, filled):
    x, context = latents(2), text(77, 77)
    with torch.no_grad(), Run(Settings(**settings), sd1, strict=True) as run:
        run.begin(TIMES)
        run.set_negative(text(77, seed=8))
        run.step_at(749)
        run.call(rows)
        sd1(x, torch.tensor(749), context)
        assert met.count(80) == 16 * (2 if filled else 1)  # the negative's, and the prompt's
        met.clear()
        run.step(0.0)
        sd1(x, torch.tensor(749), context)
    assert met.count(77) == 16 and 80 not in met
