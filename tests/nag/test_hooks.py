"""A hook that comes and goes: called while it is in place, behind those that were there, and never after."""

import pytest
import torch
from torch import nn

from extras.nag.hooks import Hook
from extras.nag.taps import count_taps, marked, remove_leftovers


@pytest.fixture
def layer():
    return nn.Linear(3, 3)


@pytest.fixture
def seen(layer):
    """What was called, in its order; the host's own hook first."""
    called = []
    layer.register_forward_hook(lambda *_: called.append("host"))
    return called


def hook_on(layer, called, before=False):
    @marked
    def ours(*_):
        called.append("ours")

    return Hook(layer, ours, before)


@pytest.mark.parametrize("before", [False, True])
def test_it_is_called_exactly_while_it_is_in_place(layer, seen, before):
    hook = hook_on(layer, seen, before)
    tables = layer._forward_hooks, layer._forward_pre_hooks
    own = [dict(table) for table in tables]
    hook.take()
    for _ in range(3):
        layer(torch.ones(3))
        assert seen == ["host"]
        hook.put()
        hook.put()
        assert count_taps(layer) == 1
        seen.clear()
        layer(torch.ones(3))
        assert seen == (["ours", "host"] if before else ["host", "ours"])
        hook.take()
        hook.take()
        assert [dict(table) for table in tables] == own
        seen.clear()


def test_it_comes_behind_what_has_come_meanwhile(layer, seen):
    hook = hook_on(layer, seen)
    hook.put()
    hook.take()
    layer.register_forward_hook(lambda *_: seen.append("another"))
    hook.put()
    layer(torch.ones(3))
    assert seen == ["host", "another", "ours"]


def test_one_that_was_lost_is_found_and_removed(layer, seen):
    hook = hook_on(layer, seen)
    for _ in range(2):
        hook.put()
        assert remove_leftovers(layer) == 1 and count_taps(layer) == 0
        hook.take()
    hook.put()
    layer(torch.ones(3))
    assert seen == ["host", "ours"]


def test_it_registers_once_and_disturbs_no_other(layer, seen):
    hook = hook_on(layer, seen)
    hook.put()
    number = next(reversed(layer._forward_hooks))
    hook.take()
    others = [layer.register_forward_hook(lambda *_: None) for _ in range(5)]
    hook.put()
    assert number in layer._forward_hooks and number not in {handle.id for handle in others}
    hook.take()
    assert {handle.id for handle in others} < set(layer._forward_hooks)
