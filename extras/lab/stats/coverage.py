"""How often the 95 % intervals hold: simulated experiments whose true answer is known.

python -m extras.lab.stats.coverage [--experiments 4000] [--prompts 16] [--seeds 20]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy import stats

from . import frontier
from .clusters import Sums, ratio, resamples
from .intervals import estimate

Draw = Callable[[np.random.Generator, int, int], Sums]


def _rates(rng: np.random.Generator, treated: np.ndarray, control: np.ndarray, n: np.ndarray) -> Sums:
    return Sums((rng.binomial(n, treated) - rng.binomial(n, control)).astype(float), n.astype(float))


def normal(rng: np.random.Generator, prompts: int, seeds: int) -> Sums:
    """A continuous measure; prompts differ normally. True difference 0.1."""
    effect = rng.normal(0.1, 0.1, prompts)
    return Sums(rng.normal(effect, 0.3 / np.sqrt(seeds)) * seeds, np.full(prompts, float(seeds)))


def skewed(rng: np.random.Generator, prompts: int, seeds: int) -> Sums:
    """A continuous measure; the effect is exponentially distributed over prompts. True difference 0.1."""
    return Sums(rng.normal(rng.exponential(0.1, prompts), 0.05) * seeds, np.full(prompts, float(seeds)))


def deletions(rng: np.random.Generator, prompts: int, seeds: int) -> Sums:
    """Deletion rates that vary widely between prompts. True difference 1/3."""
    treated, control = rng.beta(2, 1, prompts), rng.beta(1, 2, prompts)
    return _rates(rng, treated, control, np.full(prompts, seeds))


def uneven(rng: np.random.Generator, prompts: int, seeds: int) -> Sums:
    """The same where between a tenth of the seeds and all of them had something to delete. True difference 1/3."""
    n = rng.integers(max(1, seeds // 10), seeds + 1, prompts)
    return _rates(rng, rng.beta(2, 1, prompts), rng.beta(1, 2, prompts), n)


def nearly_all(rng: np.random.Generator, prompts: int, seeds: int) -> Sums:
    """Control deletes nearly always, treated less by a little on most prompts and much on a few. Truth: -LOST."""
    control = rng.beta(3, 0.15, prompts)
    treated = control * (1 - rng.beta(0.3, 3, prompts))
    return _rates(rng, treated, control, np.full(prompts, seeds))


LOST = (3 / 3.15) * (0.3 / 3.3)
SCENES: dict[str, tuple[Draw, float]] = {
    "continuous, normal": (normal, 0.1),
    "continuous, skewed": (skewed, 0.1),
    "deletion rates": (deletions, 1 / 3),
    "deletion rates, uneven": (uneven, 1 / 3),
    "nearly all deleted": (nearly_all, -LOST),
}
METHODS = ("this lab", "Student's t", "percentile bootstrap")


def covered(draw: Draw, truth: float, experiments: int, prompts: int, seeds: int, seed: int = 0) -> dict[str, float]:
    """Share of experiments whose 95 % interval holds the truth, by method."""
    rng = np.random.default_rng(seed)
    hits = dict.fromkeys(METHODS, 0)
    student = stats.t.ppf(0.975, prompts - 1)
    picks = resamples(prompts, 999, seed)
    for _ in range(experiments):
        sums = draw(rng, prompts, seeds)
        mine = estimate(sums, draws=999)
        hits["this lab"] += mine.low <= truth <= mine.high
        hits["Student's t"] += abs(sums.value - truth) <= student * sums.se
        low, high = np.quantile(ratio(sums.num[picks], sums.den[picks])[0], [0.025, 0.975])
        hits["percentile bootstrap"] += low <= truth <= high
    return {name: count / experiments for name, count in hits.items()}


def _schedules(rng: np.random.Generator, prompts: int, seeds: int) -> tuple[frontier.Path, frontier.Path]:
    """Two schedules over five strengths. Both delete 1 - exp(-e·s) of the time; the second pays more for it."""
    strengths = np.arange(1.0, 6.0)
    ease = rng.gamma(4, 0.1, prompts)
    cost = rng.gamma(9, 0.01, prompts)
    rate = 1 - np.exp(-ease * strengths[:, None])
    n = np.full(rate.shape, float(seeds))

    def one(name: str, price: float) -> frontier.Path:
        kept = 1 - price * cost * strengths[:, None] + rng.normal(0, 0.02, rate.shape)
        return frontier.Path(name, strengths, kept * n, rng.binomial(seeds, rate).astype(float), n)

    return one("first", 0.7), one("second", 1.0)


@cache
def _frontier_truth() -> tuple[float, float]:
    rng = np.random.default_rng(12345)
    first, second = _schedules(rng, 8_000, 100)
    x, y = first.points()
    at_point = float(y[2] - frontier.attained(*second.points(), x[2:3])[0])
    lowest = max(frontier.reach(x), frontier.reach(second.points()[0]))
    at = lowest + (1 - lowest) * np.linspace(0, 1, 33)
    return at_point, float((frontier.attained(x, y, at) - frontier.attained(*second.points(), at)).mean())


def frontiers_covered(experiments: int, prompts: int, seeds: int, seed: int = 0) -> tuple[float, float]:
    """Share of experiments whose interval holds the truth: gap at a matched point, mean gap between two frontiers."""
    truth = _frontier_truth()
    rng = np.random.default_rng(seed)
    hits = np.zeros(2)
    for _ in range(experiments):
        first, second = _schedules(rng, prompts, seeds)
        at_point = frontier.gap_at_point(first, 3.0, second, draws=499)
        mean = frontier.mean_gap(first, second, draws=499)
        hits += [at_point.low <= truth[0] <= at_point.high, mean.low <= truth[1] <= mean.high]
    return float(hits[0] / experiments), float(hits[1] / experiments)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m extras.lab.stats.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=4000)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args(argv)
    print(f"| {given.prompts} prompts x {given.seeds} seeds, {given.experiments} experiments | {' | '.join(METHODS)} |")
    print("|---" * (len(METHODS) + 1) + "|")
    for name, (draw, truth) in SCENES.items():
        shares = covered(draw, truth, given.experiments, given.prompts, given.seeds)
        print(f"| {name} | " + " | ".join(f"{100 * shares[m]:.1f} %" for m in METHODS) + " |", flush=True)
    at_point, mean = frontiers_covered(max(50, given.experiments // 4), given.prompts, given.seeds)
    print(f"| matched preservation, one point | {100 * at_point:.1f} % | | |")
    print(f"| matched preservation, mean over the frontier | {100 * mean:.1f} % | | |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
