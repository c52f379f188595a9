"""What counts as a plain call of torch's attention: query, key, value and a scale, by place or by name."""

import pytest
import torch

from extras.nag.sdpa import plain_call

Q, K, V = (torch.zeros(1, 2, n, 4) for n in (5, 3, 3))
MASK = torch.zeros(1, 1, 5, 3)


@pytest.mark.parametrize(
    "args, kwargs, scale",
    [
        ((Q, K, V), {}, None),
        ((), {"query": Q, "key": K, "value": V}, None),
        ((Q,), {"key": K, "value": V, "scale": 0.25}, 0.25),
        ((Q, K, V, None, 0.0, False), {}, None),
        ((Q, K, V), {"attn_mask": None, "dropout_p": 0, "is_causal": False, "enable_gqa": False}, None),
    ],
)
def test_a_plain_one(args, kwargs, scale):
    q, k, v, given = plain_call(args, kwargs)
    assert (q is Q, k is K, v is V, given) == (True, True, True, scale)


@pytest.mark.parametrize(
    "args, kwargs",
    [
        ((Q, K, V, MASK), {}),
        ((Q, K, V), {"attn_mask": MASK}),
        ((Q, K, V, None, 0.1), {}),
        ((Q, K, V), {"is_causal": True}),
        ((Q, K, V), {"enable_gqa": True}),
        ((Q, K, V), {"something_new": 1}),
        ((Q, K), {}),
        ((), {}),
        ((Q, K, "values"), {}),
        ((Q[0], K[0], V[0]), {}),
        ((Q, K, V[0]), {}),
    ],
)
def test_anything_else_is_the_hosts(args, kwargs):
    assert plain_call(args, kwargs) is None
