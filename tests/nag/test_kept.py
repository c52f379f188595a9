"""Small tensors that are made once for a device, and rows as an index."""

import itertools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from extras.nag import kept as room
from extras.nag.kept import as_index, kept, rows_of

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(room, "_kept", {})


def test_it_is_made_once_for_each_type_and_device():
    first = kept(0.5, torch.float32, CPU)
    assert first.item() == 0.5 and first.shape == () and kept(0.5, torch.float32, CPU) is first
    assert kept(0.5, torch.float64, CPU).dtype == torch.float64
    assert kept((2, 0), torch.int64, CPU).tolist() == [2, 0]
    assert kept((2, 0), torch.int64, torch.device("meta")).is_meta


def test_what_has_no_numbers_is_not_kept():
    with FakeTensorMode():
        assert type(kept(1.0, torch.float32, CPU)) is not torch.Tensor
    assert not room._kept and kept(1.0, torch.float32, CPU).item() == 1


def test_what_a_recorded_graph_will_fill_is_not_kept(monkeypatch):
    monkeypatch.setattr(room, "_lasts", lambda made: False)
    assert kept(1.0, torch.float32, CPU).item() == 1 and not room._kept


def test_it_outlives_the_mode_it_was_made_in():
    with torch.inference_mode():
        one = kept(1.0, torch.float32, CPU)
    x = torch.ones(2, requires_grad=True)
    (x * one).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_there_is_an_end_to_it(monkeypatch):
    monkeypatch.setattr(room, "_MOST", 3)
    for number in range(10):
        assert kept(float(number), torch.float32, CPU).item() == number
    assert len(room._kept) <= 3


@pytest.mark.parametrize("rows", [(0,), (3,), (1, 2), (0, 1, 2, 3), (2, 0), (0, 2), (3, 3), (1, 1, 2)], ids=str)
def test_rows_as_an_index(rows):
    x = torch.arange(8).view(4, 2).clone()
    found = as_index(rows, CPU)
    assert torch.equal(x[found], x[list(rows)]) and torch.equal(rows_of(x, list(rows)), x[list(rows)])
    follow = all(b == a + 1 for a, b in itertools.pairwise(rows))
    assert isinstance(found, slice) == follow and (rows_of(x, rows)._base is x) == follow
