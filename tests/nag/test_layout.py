"""Copies that lie in memory as what they are copies of."""

import pytest
import torch

from extras.nag.layout import copy_as, empty_as


def base():
    return torch.arange(120.0).view(2, 6, 10)


@pytest.mark.parametrize(
    "z",
    [
        base(),
        base()[:, :4],
        base()[..., :5],
        base()[:, 2:],
        base().transpose(0, 1),
        base().transpose(1, 2)[:, :3],
        base().bfloat16()[:, :4],
        torch.zeros(0, 3),
        torch.tensor(1.0),
    ],
    ids=lambda z: f"{tuple(z.shape)}-{z.stride()}",
)
def test_a_copy_lies_as_the_other_does(z):
    for made in (empty_as(z), copy_as(z)):
        assert (made.shape, made.stride(), made.dtype) == (z.shape, z.stride(), z.dtype)
    assert torch.equal(copy_as(z), z)
    if z.numel():
        assert copy_as(z).data_ptr() != z.data_ptr()


def test_where_numbers_share_a_place_a_copy_gives_each_its_own():
    z = torch.arange(3.0)[None, :, None].expand(2, 3, 4)
    copy = copy_as(z)
    assert torch.equal(copy, z) and copy.is_contiguous()
    copy[0] = 7
    assert torch.equal(copy[1], z[1])


def test_gradients_flow_through_a_copy():
    z = torch.ones(2, 4, 3, requires_grad=True)
    copy_as(z[:, :2]).sum().backward()
    assert z.grad is not None and z.grad.sum() == 12
