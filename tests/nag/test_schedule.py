"""When guidance acts: the published table, real sampler grids, ramp, cooldown, units, empty windows."""

import itertools
import math

import nag_reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extras.nag.schedule import Schedule, ranges

TRAILING4 = (999, 749, 499, 249)
LCM4 = (999, 759, 499, 259)
TRAILING8 = (999, 874, 749, 624, 499, 374, 249, 124)
LEADING30 = tuple(958 - 33 * i for i in range(30))


@pytest.mark.parametrize(
    ("times", "start", "end", "steps"),
    [
        (TRAILING4, 0, 0.5, [1, 2, 3]),
        (TRAILING4, 0.17, 0.5, [2, 3]),
        (TRAILING4, 0.2, 0.5, [2, 3]),
        (TRAILING4, 0, 1, [1, 2, 3, 4]),
        (LCM4, 0, 0.5, [1, 2, 3]),
        (LCM4, 0.17, 0.5, [2, 3]),
        (LCM4, 0.2, 0.5, [2, 3]),
        (TRAILING8, 0, 0.5, [1, 2, 3, 4, 5]),
        (TRAILING8, 0.17, 0.5, [3, 4, 5]),
    ],
)
def test_published_table(times, start, end, steps):
    resolved = Schedule(start, end).resolve(times)
    assert resolved.guided_steps == steps == nag_reference.seed_rule(start, end, times)
    assert not resolved.warnings


def test_thirty_leading_steps_begin_at_the_fifth():
    resolved = Schedule(0.17, 1).resolve(LEADING30)
    assert resolved.guided_steps[0] == 5 and LEADING30[4] == 826
    assert resolved.guided_steps[-1] == 30


def test_grids_of_real_schedulers():
    from diffusers import DDIMScheduler, LCMScheduler

    trailing = DDIMScheduler(timestep_spacing="trailing")
    trailing.set_timesteps(4)
    assert Schedule(0.17, 0.5).resolve(trailing.timesteps.tolist()).guided_steps == [2, 3]
    lcm = LCMScheduler()
    lcm.set_timesteps(4)
    assert Schedule(0, 0.5).resolve(lcm.timesteps.tolist()).guided_steps == [1, 2, 3]
    leading = DDIMScheduler(timestep_spacing="leading", steps_offset=1)
    leading.set_timesteps(30)
    assert Schedule(0.17).resolve(leading.timesteps.tolist()).guided_steps[0] == 5


FRACTIONS = st.integers(0, 100).map(lambda n: n / 100)


@given(FRACTIONS, FRACTIONS, st.lists(st.integers(0, 999), min_size=1, max_size=40, unique=True))
def test_equals_the_published_rule_but_for_the_shared_boundary(start, end, times):
    times = sorted(times, reverse=True)
    ours = set(Schedule(start, end).resolve(times).guided_steps)
    theirs = set(nag_reference.seed_rule(start, end, times))
    boundary = math.floor((1 - start) * 999)
    shared = {i + 1 for i, t in enumerate(times) if start > 0 and t == boundary}
    if end > start:
        assert ours == theirs - shared
    else:
        assert not ours


@given(
    st.lists(FRACTIONS, min_size=1, max_size=4, unique=True),
    st.integers(1, 60),
    st.sampled_from(["noise", "steps"]),
)
def test_adjacent_windows_share_no_step_and_miss_none(cuts, steps, unit):
    times = [999 - i * 999 / steps for i in range(steps)]
    edges = sorted({0.0, 1.0, *cuts})
    seen = []
    for start, end in itertools.pairwise(edges):
        seen += Schedule(start, end, unit).resolve(times).guided_steps
    assert seen == list(range(1, steps + 1))


def test_end_one_includes_the_last_step_whatever_its_time():
    assert Schedule(0.9, 1).resolve([999, 500, 0]).guided_steps == [3]
    assert Schedule(0.5, 1, "steps").resolve([999, 500, 0, 0]).guided_steps[-1] == 4


def test_times_that_samplers_have_rounded_stay_on_their_side():
    resolved = Schedule(0.17, 0.5).resolve([998.9996, 748.9998, 499.0002, 248.9999])
    assert resolved.guided_steps == [2, 3]
    assert resolved.step_at(749.0003) == 2 and resolved.step_at(748.9995) == 2


# -- shape in the window ---


def test_ramp_guides_from_its_first_step():
    resolved = Schedule(0.17, 1, ramp_steps=3).resolve(TRAILING8)
    assert resolved.guided_steps[0] == 3
    assert resolved.strength[2:] == pytest.approx((1 / 3, 2 / 3, 1, 1, 1, 1))
    assert resolved.strength[:2] == (0, 0)


@pytest.mark.parametrize("ramp", [0, 1])
def test_no_ramp_is_full_strength_at_once(ramp):
    assert Schedule(ramp_steps=ramp).resolve(TRAILING4).strength == (1, 1, 1, 1)


def test_ramp_longer_than_the_window_never_reaches_full():
    assert Schedule(0, 0.5, ramp_steps=6).resolve(TRAILING4).strength == pytest.approx((1 / 6, 2 / 6, 3 / 6, 0))


def test_cooldown_begins_strictly_after_the_last_guided_step():
    resolved = Schedule(0.17, 0.5, cooldown=0.2).resolve(TRAILING8)
    assert resolved.guided_steps == [3, 4, 5] and resolved.cooldown_steps == [6]
    assert resolved.cfg_factor == pytest.approx((1, 1, 1, 1, 1, 0.8, 1, 1))


@given(FRACTIONS, FRACTIONS, FRACTIONS, st.integers(0, 9), st.integers(1, 40))
def test_no_step_is_both_guided_and_cooling(start, end, cooldown, ramp, steps):
    times = [999 - i * 999 / steps for i in range(steps)]
    resolved = Schedule(start, end, ramp_steps=ramp, cooldown=cooldown).resolve(times)
    assert not set(resolved.guided_steps) & set(resolved.cooldown_steps)
    assert all(0 <= s <= 1 for s in resolved.strength)
    assert len(resolved.strength) == len(resolved.cfg_factor) == steps
    assert [resolved.strength_at(t) for t in times] == list(zip(resolved.strength, resolved.cfg_factor, strict=True))
    if resolved.cooldown_steps and resolved.guided_steps:
        assert resolved.cooldown_steps[0] > resolved.guided_steps[-1]
    assert bool(resolved.warnings) == (not resolved.guided_steps)


# -- units ---


def test_unit_steps_counts_steps_not_noise():
    times = (999, 990, 980, 10)  # hardly any progress in noise until the last
    assert Schedule(0, 0.5, "steps").resolve(times).guided_steps == [1, 2]
    assert Schedule(0.25, 0.75, "steps").resolve(times).guided_steps == [2, 3]
    assert Schedule(0, 0.5, "noise").resolve(times).guided_steps == [1, 2, 3]


def test_unit_sigma_is_a_falling_window():
    sigmas = (14.6, 7.0, 4.0, 1.0, 0.0)
    assert Schedule(0, 4, "sigma").resolve(TRAILING4, sigmas).guided_steps == [1, 2]
    assert Schedule(7, 1, "sigma").resolve(TRAILING4, sigmas).guided_steps == [2, 3]
    assert Schedule(7, 0, "sigma").resolve(TRAILING4, sigmas).guided_steps == [2, 3, 4]
    cooled = Schedule(0, 4, "sigma", cooldown=0.1).resolve(TRAILING4, sigmas)
    assert cooled.guided_steps == [1, 2] and cooled.cooldown_steps == [3]


def test_unit_sigma_between_steps_is_log_linear():
    resolved = Schedule(0, 2, "sigma").resolve((900, 500), (8.0, 0.5))
    assert resolved.strength_at(701)[0] == 1 and resolved.strength_at(699)[0] == 0  # sigma 2 lies at 700


def test_unit_sigma_needs_sigmas():
    with pytest.raises(ValueError, match="sigmas"):
        Schedule(0, 4, "sigma").resolve(TRAILING4)
    with pytest.raises(ValueError, match="sigmas has 2"):
        Schedule(0, 4, "sigma").resolve(TRAILING4, (3, 2))


def test_repeated_times_are_one_step_of_the_ramp():
    resolved = Schedule(0, 1, ramp_steps=3).resolve((999, 749, 749, 499, 499, 249, 249))
    assert resolved.strength == pytest.approx((1 / 3, 2 / 3, 2 / 3, 1, 1, 1, 1))


# -- nothing to guide, and what cannot be ---


@pytest.mark.parametrize(("start", "end"), [(0.3, 0.4), (0.5, 0.2), (0.5, 0.5), (0.8, 1.0)])
def test_empty_window_warns_with_the_window_and_what_is_reachable(start, end):
    resolved = Schedule(start, end, cooldown=0.5).resolve(TRAILING4)
    assert resolved.guided_steps == [] and resolved.cooldown_steps == []
    assert set(resolved.strength) == {0} and resolved.strength_at(650) == (0, 1)
    (warning,) = resolved.warnings
    assert f"start {start:g}" in warning and f"end {end:g}" in warning and "0.499" in warning
    assert ("does not come after" in warning) == (end <= start)
    assert "none of 4 steps" in resolved.describe()


def test_image_to_image_begins_late_and_says_so():
    resolved = Schedule(0, 0.3).resolve((499, 249))
    assert resolved.warnings and "0.499, 0.75" in resolved.warnings[0]


def test_describe_reads_well():
    text = Schedule(0.17, 0.5, ramp_steps=2, cooldown=0.3).resolve(TRAILING4).describe()
    assert text == "guided: steps 2-3 of 4, strength 0.5 1; CFG x0.8 in steps 4"
    assert ranges([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7-8"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("start", {"start": -0.1}),
        ("end", {"end": 1.1}),
        ("end", {"end": float("nan")}),
        ("unit", {"unit": "seconds"}),
        ("ramp_steps", {"ramp_steps": -1}),
        ("cooldown", {"cooldown": 2}),
        ("cooldown_drop", {"cooldown_drop": 1.5}),
    ],
)
def test_bad_values_are_named(field, values):
    with pytest.raises(ValueError, match=field):
        Schedule(**values)


def test_bad_grids_are_refused():
    with pytest.raises(ValueError, match="times is empty"):
        Schedule().resolve([])
    with pytest.raises(ValueError, match="finite"):
        Schedule().resolve([float("nan")])


@given(
    st.lists(st.integers(0, 998), min_size=1, max_size=60, unique=True),
    st.sampled_from(["noise", "steps", "sigma"]),
    st.data(),
)
def test_a_window_between_two_edges_is_these_steps(times, unit, data):
    times = sorted(times, reverse=True)
    sigmas = [math.exp(t / 150 - 3) for t in times]
    edges = Schedule(0, 0 if unit == "sigma" else 1, unit).resolve(times, sigmas).edges()
    assert len(edges) == len(times) + 1
    first = data.draw(st.integers(1, len(times)))
    last = data.draw(st.integers(first, len(times)))
    resolved = Schedule(edges[first - 1], edges[last], unit).resolve(times, sigmas)
    assert resolved.guided_steps == list(range(first, last + 1))


def test_edges_are_short_numbers_where_steps_are_far_apart():
    assert Schedule().resolve(TRAILING4).edges() == [0, 0.24, 0.49, 0.74, 1]
    assert Schedule(unit="steps").resolve(TRAILING4).edges() == [0, 0.25, 0.5, 0.75, 1]
    assert Schedule(0, 0, "sigma").resolve(TRAILING4, [14.6, 4.123, 1.5, 0.7]).edges() == [0, 4.13, 1.5, 0.7, 0]
    assert Schedule().resolve([999, 999, 500]).edges() == []
