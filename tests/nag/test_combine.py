"""Reports of several runs as one: batches, and before and after a change of model."""

import pytest

from extras.nag.report import ENDED_EARLY, NO_STEP, NOTHING_GUIDED, Report, combine


def report(steps, calls, change, **rest):
    per_step = [
        {"step": s, "strength": float(s in steps), "cfg_factor": 1.0, "calls": calls if s in steps else 0,
         "change": change if s in steps else 0.0}
        for s in range(1, 5)
    ]  # fmt: skip
    total = calls * len(steps)
    layers = {"attn": {"notation": "d0", "calls": total, "change": change if total else 0.0}}
    return Report(1, total, len(steps), 4, list(steps), change if total else 0.0, per_step, layers, **rest)


def test_calls_add_up_and_changes_are_weighted():
    both = combine([report([1, 2], 1, 0.1, seconds=1.0), report([2, 3], 3, 0.5, seconds=2.0)])
    assert both.guided_steps == [1, 2, 3] and both.calls == 8 and both.forwards == 4 and both.steps == 4
    assert abs(both.mean_change - (2 * 0.1 + 6 * 0.5) / 8) < 1e-12 and both.seconds == 3.0
    second = both.per_step[1]
    assert second["calls"] == 4 and abs(second["change"] - (0.1 + 3 * 0.5) / 4) < 1e-12
    assert both.per_layer["attn"]["calls"] == 8


@pytest.mark.parametrize("text", [NOTHING_GUIDED, ENDED_EARLY, NO_STEP])
def test_nothing_guided_is_said_only_when_true_of_all(text):
    idle = report([], 0, 0.0, warnings=[text, "other"])
    assert combine([idle, report([1], 1, 0.1)]).warnings == ["other"]
    assert combine([idle, report([], 0, 0.0, warnings=[text])]).warnings == [text, "other"]


def test_the_first_error_and_each_warning_once():
    one = report([1], 1, 0.1, warnings=["a"], error="first")
    two = report([1], 1, 0.1, warnings=["a", "b"], error="second")
    both = combine([one, two])
    assert both.error == "first" and both.warnings == ["a", "b"]
    assert combine([]) == Report()
