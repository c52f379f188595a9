"""The schedule at its borders, and its words: every number here was worked out by hand."""

import math

import pytest

from extras.nag.schedule import Schedule, lowered_cfg, ranges

GRID = (999, 749, 499, 249)
SIGMAS = (10.0, 5.0, 2.5, 1.0)


def falling(start, end, sigmas=SIGMAS, times=GRID, **rest):
    return Schedule(start, end, "sigma", **rest).resolve(times, sigmas)


# -- what may be set ---


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"unit": "seconds"}, "unit is 'seconds'; allowed: noise, steps, sigma"),
        ({"start": -0.1}, "start is -0.1; allowed: 0 to 1"),
        ({"start": 1.01}, "start is 1.01; allowed: 0 to 1"),
        ({"end": 1.01}, "end is 1.01; allowed: 0 to 1"),
        ({"end": -1}, "end is -1; allowed: 0 to 1"),
        ({"start": -1, "unit": "sigma"}, "start is -1; allowed: 0 or more"),
        ({"end": math.inf, "unit": "sigma"}, "end is inf; allowed: 0 or more"),
        ({"start": math.nan}, "start is nan; allowed: 0 to 1"),
        ({"ramp_steps": -1}, "ramp_steps is -1; allowed: 0 or more"),
        ({"ramp_steps": math.inf}, "ramp_steps is inf; allowed: 0 or more"),
        ({"cooldown": 1.5}, "cooldown is 1.5; allowed: 0 to 1"),
        ({"cooldown_drop": 1.5}, "cooldown_drop is 1.5; allowed: 0 to 1"),
        ({"cooldown_drop": -0.5}, "cooldown_drop is -0.5; allowed: 0 to 1"),
    ],
)
def test_what_is_said_of_a_bad_value(values, words):
    with pytest.raises(ValueError) as told:
        Schedule(**values)
    assert str(told.value) == words


def test_the_ends_of_the_ranges_are_allowed():
    Schedule(0, 0)
    Schedule(1, 1, ramp_steps=1000, cooldown=1, cooldown_drop=1)
    Schedule(0, 0, cooldown=0, cooldown_drop=0)
    Schedule(700, 14.6, "sigma")


@pytest.mark.parametrize(
    ("times", "sigmas", "unit", "words"),
    [
        ([], None, "noise", "times is empty; allowed: at least one timestep"),
        ([1.0, math.inf], None, "noise", "times is (1.0, inf); allowed: finite timesteps"),
        ([2, 1], [5], "noise", "sigmas has 1 entries; allowed: one per timestep (2)"),
        ([2, 1], None, "sigma", "sigmas is missing; unit 'sigma' needs the sampler's sigmas"),
    ],
)
def test_what_is_said_of_a_bad_grid(times, sigmas, unit, words):
    with pytest.raises(ValueError) as told:
        Schedule(unit=unit).resolve(times, sigmas)
    assert str(told.value) == words


def test_a_grid_is_kept_as_floats_and_the_last_sigma_that_is_no_step_is_dropped():
    resolved = Schedule().resolve([2, 1], [5, 3, 0])
    assert resolved.times == (2.0, 1.0) and resolved.sigmas == (5.0, 3.0)
    assert {type(x) for x in (*resolved.times, *resolved.sigmas)} == {float}
    assert Schedule().resolve([2, 1]).sigmas is None and Schedule().resolve([2, 1], [5, 3]).sigmas == (5.0, 3.0)


@pytest.mark.parametrize(
    ("start", "end", "unit", "inverted"),
    [
        (0.5, 0.5, "noise", True),
        (0.5, 0.4, "steps", True),
        (0.4, 0.5, "noise", False),
        (5, 5, "sigma", True),
        (4, 5, "sigma", True),
        (5, 4, "sigma", False),
        (0, 5, "sigma", False),
        (0.5, 1, "sigma", True),
    ],
)
def test_windows_that_end_before_they_begin(start, end, unit, inverted):
    assert Schedule(start, end, unit).inverted is inverted


# -- progress, steps, borders ---


def test_progress_by_noise_begins_below_the_last_train_timestep():
    resolved = Schedule().resolve(GRID)
    assert [resolved.progress(t) for t in (1200, 999, 998, 499, 0)] == [0, 0, 0, 499 / 999, 998 / 999]
    assert resolved.progress(997) == 1 / 999


def test_progress_by_steps_counts_parts_of_the_way_to_the_next():
    resolved = Schedule(unit="steps").resolve(GRID)
    asked = {1200: 0, 999: 0, 874: 0.125, 749: 0.25, 624: 0.375, 249: 0.75, 100: 0.75, 0: 0.75}
    assert {t: resolved.progress(t) for t in asked} == asked


@pytest.mark.parametrize(
    ("t", "step"), [(1200, 1), (999, 1), (749.5, 1), (749.005, 2), (749, 2), (748, 2), (249, 4), (0, 4)]
)
def test_a_call_belongs_to_the_step_that_began_last(t, step):
    assert Schedule().resolve(GRID).step_at(t) == step


def test_a_step_of_two_calls_has_the_number_of_the_first():
    resolved = Schedule(0, 1, ramp_steps=2).resolve((999, 749, 749, 499))
    assert [resolved.step_at(t) for t in (999, 749, 600, 499)] == [1, 2, 2, 4]
    assert resolved.strength == (0.5, 1, 1, 1)


def test_both_borders_of_a_window_are_kept_to_a_billionth():
    steps = Schedule(0.25, 0.75, "steps").resolve(GRID)
    assert steps.guided_steps == [2, 3]
    assert Schedule(0.25 + 5e-10, 0.75 + 5e-10, "steps").resolve(GRID).guided_steps == [2, 3]
    assert Schedule(0.25 + 1e-8, 0.75 + 1e-8, "steps").resolve(GRID).guided_steps == [3, 4]
    assert Schedule(0.25 - 1e-8, 0.75 - 1e-8, "steps").resolve(GRID).guided_steps == [2, 3]


def test_an_end_of_one_includes_what_lies_at_one_but_not_for_a_start_of_one():
    beyond = (999, 499, -1)
    assert Schedule(0, 1).resolve(beyond).guided_steps == [1, 2, 3]
    assert Schedule(0.9, 1).resolve(beyond).guided_steps == [3]
    assert Schedule(1, 1).resolve(beyond).guided_steps == []


def test_calls_between_two_steps_follow_the_window_by_their_own_time():
    resolved = Schedule(0.17, 0.6, ramp_steps=2).resolve(GRID)
    assert resolved.strength == (0, 0.5, 1, 0)
    assert resolved.strength_at(800) == (0.5, 1), "inside, before the first guided step: the ramp's first value"
    assert resolved.strength_at(850) == (0, 1) and resolved.strength_at(390) == (0, 1)
    assert resolved.strength_at(600) == (0.5, 1) and resolved.strength_at(410) == (1, 1)


@pytest.mark.parametrize(
    ("ramp", "strength"),
    [
        (0, (1, 1, 1, 1)),
        (1, (1, 1, 1, 1)),
        (2, (0.5, 1, 1, 1)),
        (4, (0.25, 0.5, 0.75, 1)),
        (8, (1 / 8, 1 / 4, 3 / 8, 0.5)),
    ],
)
def test_the_ramp_in_numbers(ramp, strength):
    resolved = Schedule(ramp_steps=ramp).resolve(GRID)
    assert resolved.strength == strength and resolved.cfg_factor == (1, 1, 1, 1)
    assert all(type(s) is float for s in resolved.strength)


# -- sigma ---


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [
        (0, 0, [1, 2, 3, 4]),
        (0, 5, [1]),
        (0, 4.99, [1, 2]),
        (5, 1, [2, 3]),
        (4.99, 1, [3]),
        (10, 2.5, [1, 2]),
        (9.99, 0.99, [2, 3, 4]),
        (0, 20, []),
    ],
)
def test_a_falling_window_includes_its_start_and_not_its_end(start, end, steps):
    assert falling(start, end).guided_steps == steps


def test_sigmas_borders_have_their_slack_too():
    assert falling(5 * (1 - 5e-10), 1).guided_steps == [2, 3] and falling(5 * (1 - 1e-8), 1).guided_steps == [3]
    assert falling(0, 5 * (1 - 5e-10)).guided_steps == [1] and falling(0, 5 * (1 - 1e-8)).guided_steps == [1, 2]


def test_sigma_between_two_steps_in_numbers():
    root = math.sqrt(50)  # of 10 and 5, half the way
    assert falling(0, root * 0.999).strength_at(874) == (1, 1) and falling(0, root * 1.001).strength_at(874) == (0, 1)
    assert falling(root * 1.001, 0).strength_at(874) == (1, 1) and falling(root * 0.999, 0).strength_at(874) == (0, 1)
    quarter = 10 * 0.5**0.25
    assert falling(0, quarter * 0.999).strength_at(936.5) == (1, 1)
    assert falling(0, quarter * 1.001).strength_at(936.5) == (0, 1)
    small = math.sqrt(0.05)  # of 0.5 and 0.1: below 1 as well
    assert falling(0, small * 0.999, (0.5, 0.1), (2, 1)).strength_at(1.5) == (1, 1)
    assert falling(0, small * 1.001, (0.5, 0.1), (2, 1)).strength_at(1.5) == (0, 1)
    assert falling(0, 0.999).strength_at(0) == (1, 1) and falling(0, 1.001).strength_at(0) == (0, 1), "after the last"


def test_towards_a_sigma_of_zero_everything_counts():
    resolved = falling(0, 0, (10.0, 5.0, 2.5, 0.0))
    assert resolved.guided_steps == [1, 2, 3] and resolved.strength_at(374) == (1, 1)
    nearly = math.sqrt(2.5 * 1e-12)
    assert falling(0, nearly * 1.01, (10.0, 5.0, 2.5, 0.0)).strength_at(374) == (0, 1)
    assert falling(0, nearly * 0.99, (10.0, 5.0, 2.5, 0.0)).strength_at(374) == (1, 1)


def test_a_repeated_time_has_the_sigma_of_its_first_call():
    assert falling(0, 4.5, (10, 5, 4, 2), (999, 749, 749, 499)).guided_steps == [1, 2, 3]


# -- cooldown ---


@pytest.mark.parametrize(
    ("cooldown", "steps"), [(0, []), (0.24, [3]), (0.25, [3]), (0.251, [3, 4]), (0.5, [3, 4]), (1e-8, [3])]
)
def test_the_cooldown_begins_at_the_end_and_ends_before_its_own(cooldown, steps):
    resolved = Schedule(0, 0.5, "steps", cooldown=cooldown, cooldown_drop=0.25).resolve(GRID)
    assert resolved.cooldown_steps == steps and resolved.guided_steps == [1, 2]
    assert resolved.cfg_factor == tuple(0.75 if i in steps else 1.0 for i in (1, 2, 3, 4))


def test_the_cooldowns_borders_to_a_billionth():
    def steps(end, cooldown):
        return Schedule(0, end, "steps", cooldown=cooldown).resolve(GRID).cooldown_steps

    assert steps(0.5 + 5e-10, 0.1) == [3] and steps(0.5 + 1e-8, 0.1) == []
    assert steps(0.5, 0.25 + 5e-10) == [3] and steps(0.5, 0.25 + 1e-8) == [3, 4]


@pytest.mark.parametrize(
    ("end", "cooldown", "steps"),
    [
        (5, 0.3, [2, 3]),
        (5, 250 / 999, [2]),
        (5, 250 / 999 + 1e-8, [2, 3]),
        (5, 1, [2, 3, 4]),
        (5, 0, []),
        (0.5, 0.3, []),
    ],
)
def test_in_sigma_the_cooldown_lasts_by_the_noise_schedule(end, cooldown, steps):
    resolved = falling(0, end, cooldown=cooldown)
    assert resolved.cooldown_steps == steps
    if end == 5:
        assert resolved.strength_at(900) == (1, 1), "before the end nothing is lowered"


def test_the_cooldown_waits_for_the_window():
    """What lies before a late window is not lowered."""
    assert falling(4, 2, cooldown=1).cooldown_steps == [4] and falling(4, 2, cooldown=1).guided_steps == [3]
    assert falling(0, 5 * (1 - 5e-10), cooldown=0.1).cooldown_steps == [2]
    above = falling(4, 2.4, (10.0, 4.5, 2.5, 1.0), cooldown=1)
    assert (above.guided_steps, above.cooldown_steps) == ([3], [4]), "4.5 comes before the window"


@pytest.mark.parametrize(
    ("cfg", "factor", "lowered"),
    [
        (7, 0.8, 5.6),
        (7, 1.0, 7),
        (1, 0.5, 1),
        (0.5, 0.5, 0.5),
        (1.2, 0.5, 1),
        (2, 0.5, 1),
        (4, 0.5, 2),
        (1.5, 1.0, 1.5),
    ],
)
def test_a_lowered_scale_is_never_below_one(cfg, factor, lowered):
    assert lowered_cfg(cfg, factor) == pytest.approx(lowered)


# -- edges ---


def test_edges_in_numbers():
    assert Schedule().resolve(GRID).edges() == [0, 0.24, 0.49, 0.74, 1]
    assert Schedule(unit="steps").resolve(GRID).edges() == [0, 0.25, 0.5, 0.75, 1]
    assert falling(0, 0).edges() == [0, 5, 2.5, 1, 0]
    assert falling(0, 0, (10, 4.996, 2.501, 1)).edges() == [0, 5, 2.51, 1, 0]
    assert Schedule().resolve([500]).edges() == [0, 1]


def test_edges_where_two_decimals_are_too_few():
    inner = Schedule(unit="steps").resolve(range(400, 0, -1)).edges()[1:-1]
    assert inner[:4] == [0.00125, 0.00375, 0.00625, 0.01]
    assert inner[99:101] == [0.25, 0.25125]
    sigmas = falling(0, 0, (2.6, 2.505, 2.5049), (3, 2, 1)).edges()
    assert sigmas == [0, 2.51, pytest.approx(2.50495), 0]
    assert falling(0, 0, (2.51, 2.505), (2, 1)).edges()[1] == pytest.approx(2.5075), "2.51 is the step before"


def test_no_edges_where_steps_share_a_place_or_go_back():
    assert Schedule().resolve((999, 749, 749)).edges() == [] and Schedule().resolve((249, 749)).edges() == []
    assert falling(0, 0, (5, 5), (2, 1)).edges() == [] and falling(0, 0, (5, 6), (2, 1)).edges() == []
    assert Schedule().resolve((999, 998.5)).edges() == [], "both are at 0"


# -- words ---

END = "start must not be beyond one of them and end must be beyond it."


def warning(resolved):
    (text,) = resolved.warnings
    return text


def test_what_an_empty_window_says():
    assert warning(Schedule(0.3, 0.4).resolve(GRID)) == (
        "No step is guided: the window start 0.3, end 0.4 (noise) is empty: none of the 4 steps lies in it. "
        f"The steps lie at 0, 0.249, 0.499, 0.75; {END}"
    )
    assert warning(falling(0, 20)) == (
        "No step is guided: the window start 0, end 20 (sigma) is empty: none of the 4 steps lies in it. "
        f"The steps lie at 10, 5, 2.5, 1; {END}"
    )


@pytest.mark.parametrize("steps", [11, 12, 13, 20])
@pytest.mark.parametrize("unit", ["steps", "sigma"])
def test_of_many_steps_twelve_are_named(steps, unit):
    sigmas = [float(s) for s in range(steps, 0, -1)]
    resolved = Schedule(0.5, 0.5, unit).resolve(range(steps, 0, -1), sigmas)
    places = sigmas if unit == "sigma" else [k / steps for k in range(steps)]
    named = ", ".join(f"{p:.3g}" for p in places[:12]) + (", ..." if steps > 12 else "")
    assert warning(resolved) == (
        f"No step is guided: the window start 0.5, end 0.5 ({unit}) is empty: end does not come after start. "
        f"The steps lie at {named}; {END}"
    )


def test_what_is_guided_in_words():
    assert Schedule().resolve(GRID).describe() == "guided: steps 1-4 of 4"
    assert Schedule(0.3, 0.4).resolve(GRID).describe() == "guided: none of 4 steps"
    ramped = Schedule(0.17, 1, ramp_steps=3).resolve(GRID)
    assert ramped.describe() == "guided: steps 2-4 of 4, strength 0.33 0.67 1"
    cooled = Schedule(0, 0.3, cooldown=0.5, cooldown_drop=0.35).resolve(GRID)
    assert cooled.describe() == "guided: steps 1-2 of 4; CFG x0.65 in steps 3-4"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([4], "4"), ([1, 2], "1-2"), ([1, 3], "1, 3"), ([1, 2, 3, 7, 9, 8], "1-3, 7, 9, 8")],
)
def test_ranges(numbers, text):
    assert ranges(numbers) == text
