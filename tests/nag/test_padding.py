"""Keys filled up for a CPU: the features are those of the text alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extras.nag.branches import padding
from extras.nag.branches.padding import KeysValues

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
