"""The lab's statistics against independent references, known answers and properties."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from extras.lab.stats import claims, coverage, frontier, pairs, power
from extras.lab.stats.clusters import Sums
from extras.lab.stats.intervals import estimate


def rows(seed: int = 0, prompts: int = 16, seeds: int = 5, effect: float = 0.2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    made = []
    for model in ("a", "b"):
        for pair in range(prompts):
            easy = rng.normal(0, 0.3)
            for s in range(seeds):
                for arm, more in (("control", 0.0), ("treated", effect)):
                    made.append((model, f"p{pair}", s, arm, easy + more + rng.normal(0, 0.1)))
    return pd.DataFrame(made, columns=["model", "pair", "seed", "arm", "score"]).assign(cluster=lambda f: f.pair)


def difference(frame: pd.DataFrame) -> pd.DataFrame:
    return pairs.paired(frame, frame.arm == "treated", frame.arm == "control", ["score"])


def test_balanced_estimate_is_the_paired_t_test_over_prompts():
    sums = pairs.sums(difference(rows()), "score")
    found = estimate(sums)
    known = reference.ttest_1samp(sums.means, 0.0)
    assert found.value == pytest.approx(sums.means.mean())
    assert found.se == pytest.approx(found.value / known.statistic)
    interval = known.confidence_interval(0.95)
    assert found.low <= interval.low + 1e-12 and found.high >= interval.high - 1e-12
    assert found.high - found.low < 1.3 * (interval.high - interval.low)


def test_linearised_error_agrees_with_the_jackknife_where_clusters_differ_in_size():
    rng = np.random.default_rng(4)
    den = rng.integers(2, 20, 200).astype(float)
    sums = Sums(rng.binomial(den.astype(int), 0.4).astype(float), den)
    left_out = (sums.num.sum() - sums.num) / (den.sum() - den)
    jackknife = math.sqrt(199 / 200 * ((left_out - left_out.mean()) ** 2).sum())
    assert sums.se == pytest.approx(jackknife, rel=0.02)


def test_bootstrap_agrees_with_scipy_for_a_continuous_measure():
    sums = pairs.sums(difference(rows(seed=3)), "score")
    found = estimate(sums)
    other = reference.bootstrap((sums.means,), np.mean, n_resamples=4999, method="BCa", rng=1).confidence_interval
    assert found.low == pytest.approx(other.low, abs=0.25 * (other.high - other.low))
    assert found.high == pytest.approx(other.high, abs=0.25 * (other.high - other.low))


@pytest.mark.parametrize("scene", ["continuous, normal", "deletion rates", "nearly all deleted"])
def test_the_interval_covers_the_truth_as_often_as_it_says(scene):
    draw, truth = coverage.SCENES[scene]
    shares = coverage.covered(draw, truth, experiments=500, prompts=16, seeds=20, seed=11)
    assert 0.925 <= shares["this lab"] <= 0.985  # 93 to 97 % and what 500 experiments leave open
    assert shares["this lab"] > shares["percentile bootstrap"]


def test_frontier_gaps_cover_the_truth():
    at_point, mean = coverage.frontiers_covered(experiments=250, prompts=16, seeds=20, seed=2)
    assert 0.91 <= at_point <= 0.985 and 0.91 <= mean <= 0.985


@given(
    st.lists(st.floats(-1, 1), min_size=6, max_size=12, unique=True),
    st.floats(-3, 3).filter(lambda v: abs(v) > 1e-3),
    st.floats(-3, 3),
)
@settings(max_examples=25, deadline=None)
def test_scaling_and_shifting_the_data_scales_and_shifts_the_interval(values, factor, shift):
    values = np.round(np.array(values), 3)
    if np.ptp(values) < 0.1:
        return
    plain = estimate(Sums.of(values, range(len(values))), draws=199)
    moved = estimate(Sums.of(values * factor + shift, range(len(values))), draws=199)
    ends = sorted((plain.low * factor + shift, plain.high * factor + shift))
    assert (moved.low, moved.high) == pytest.approx(tuple(ends), abs=1e-6)


def test_order_of_rows_does_not_matter_and_the_same_seed_gives_the_same_interval():
    frame = rows()
    first = estimate(pairs.sums(difference(frame), "score"))
    again = estimate(pairs.sums(difference(frame.sample(frac=1, random_state=5)), "score"))
    assert (first.low, first.high) == (again.low, again.high)


def test_no_spread_is_said_and_gives_no_interval():
    found = estimate(Sums.of([1.0] * 32, list(range(16)) * 2))
    assert found.value == 1.0 and math.isnan(found.low) and "no spread" in found.note
    assert claims.judge(found, claims.SUPERIOR).held is None


def test_few_prompts_that_carry_the_effect_are_said():
    values = [0.0] * 14 + [0.9, 0.8]
    assert "rests on 2 of 16 targets" in estimate(Sums.of(values, range(16))).note


def test_missing_values_are_left_out_and_pairs_need_both_arms():
    frame = rows()
    frame.loc[(frame.arm == "treated") & (frame.seed == 0), "score"] = np.nan
    joined = difference(frame)
    assert joined.score.isna().sum() == 2 * 16
    assert pairs.sums(joined, "score").rows == 2 * 16 * 4
    assert len(difference(frame[~((frame.arm == "control") & (frame.pair == "p3"))])) == 2 * 15 * 5


def test_two_pictures_for_one_key_are_an_error():
    frame = pd.concat([rows(), rows()], ignore_index=True)
    with pytest.raises(ValueError, match="several pictures"):
        difference(frame)


def test_superiority_and_non_inferiority_follow_the_interval():
    better = estimate(pairs.sums(difference(rows(effect=0.2)), "score"))
    same = estimate(pairs.sums(difference(rows(effect=0.0)), "score"))
    worse = estimate(pairs.sums(difference(rows(effect=-0.2)), "score"))
    assert claims.judge(better, claims.SUPERIOR).held is True
    assert claims.judge(same, claims.SUPERIOR).held is None
    assert claims.judge(worse, claims.SUPERIOR).held is False
    assert claims.judge(worse, claims.SUPERIOR, higher_is_better=False).held is True
    assert claims.judge(same, claims.NOT_INFERIOR, 0.1).held is True
    assert claims.judge(worse, claims.NOT_INFERIOR, 0.1).held is False
    assert claims.judge(worse, claims.NOT_INFERIOR, 0.5).p < 0.001
    with pytest.raises(ValueError, match="margin"):
        claims.judge(same, claims.NOT_INFERIOR)


def test_a_p_value_is_below_the_level_where_the_interval_excludes_the_line():
    for seed in range(12):
        found = estimate(pairs.sums(difference(rows(seed=seed, prompts=8, effect=0.02)), "score"))
        excluded = found.low > 0 or found.high < 0
        if abs(found.p_differs() - 0.05) > 0.003:
            assert (found.p_differs() < 0.05) == excluded


def test_holm_against_the_worked_example():
    assert claims.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(claims.holm([0.01, math.nan])[1]) and claims.holm([0.01, math.nan])[0] == 0.01


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(values):
    adjusted = claims.holm(values)
    assert (adjusted >= np.array(values) - 1e-15).all() and (adjusted <= 1).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_power_against_simulation_and_the_textbook():
    rng = np.random.default_rng(0)
    data = rng.normal(0.5, 1.0, (4000, 34))
    simulated = (reference.ttest_1samp(data, 0, axis=1).pvalue < 0.05).mean()
    assert power.power(34, 0.5, 1.0) == pytest.approx(simulated, abs=0.02)
    assert power.prompts_needed(0.5, 1.0) == 34  # the tables' n for d = 0.5, 80 %, two-sided 5 %
    assert power.detectable(34, 1.0) == pytest.approx(0.5, abs=0.01)
    assert power.prompts_needed(0.0, 1.0) is None


def two_schedules(better: float) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    made = []
    for name, price in (("early", 1.0), ("late", better)):
        for pair in range(16):
            for seed in range(6):
                for scale in (2.0, 4.0, 8.0):
                    rate = 1 - math.exp(-0.3 * scale)
                    made.append((name, f"p{pair}", seed, scale, 1 - 0.04 * price * scale, float(rng.random() < rate)))
    return pd.DataFrame(made, columns=["name", "cluster", "seed", "scale", "ssim", "deleted"])


def test_what_a_path_attains_is_interpolated_and_never_rises_with_preservation():
    x, y = np.array([0.8, 0.6, 0.7]), np.array([0.4, 0.5, 0.7])
    assert frontier.attained(x, y, np.array([0.9, 0.8, 0.7, 0.65, 0.6])) == pytest.approx([0.2, 0.4, 0.7, 0.7, 0.7])
    assert frontier.attained(x, y, np.array([1.0])) == pytest.approx([0.0])


@given(st.lists(st.tuples(st.floats(0.3, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_attained_is_monotone(points):
    x, y = (np.array(side) for side in zip(*points, strict=True))
    found = frontier.attained(x, y, np.linspace(0.3, 1, 15))
    assert (np.diff(found) <= 1e-9).all() and (found <= max(0, y.max()) + 1e-9).all()


def test_the_cheaper_schedule_wins_at_matched_preservation_though_deletion_is_the_same():
    frame = two_schedules(better=0.5)
    prompts = sorted(frame.cluster.unique())
    paths = {name: frontier.path(rows, name, "ssim", "deleted", prompts) for name, rows in frame.groupby("name")}
    gap = frontier.gap_at_point(paths["late"], 4.0, paths["early"])
    assert gap.low > 0 and frontier.mean_gap(paths["late"], paths["early"]).low > 0
    assert frontier.mean_gap(paths["early"], paths["early"]).value == 0


def test_a_path_that_lacks_a_prompt_is_an_error():
    frame = two_schedules(1.0)
    with pytest.raises(ValueError, match="has no picture of p3"):
        frontier.path(frame[frame.cluster != "p3"], "x", "ssim", "deleted", sorted(frame.cluster.unique()))


def test_prompts_with_the_same_target_are_one_cluster():
    frame = pairs.clustered(rows().assign(target=lambda f: f.pair.str[-1]))
    assert len(pairs.sums(difference(frame), "score")) == 10
    assert len(pairs.sums(difference(frame), "score", by="pair")) == 16
