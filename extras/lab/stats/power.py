"""How many prompts would settle a question: power of a paired t test over prompts (noncentral t)."""

from __future__ import annotations

import math

from scipy import optimize, stats

MOST = 100_000


def power(prompts: int, effect: float, spread: float, level: float = 0.95) -> float:
    """Chance that the interval over so many prompts excludes 0 on the effect's side.

    effect: true distance from the line that is tested (0, or the margin); spread: SD of the prompts' mean differences.
    """
    if prompts < 2 or spread < 0:
        raise ValueError(f"prompts: {prompts} must be at least 2 and spread: {spread} not negative")
    if spread == 0:
        return 1.0 if effect != 0 else 0.0
    student = stats.t.ppf((1 + level) / 2, prompts - 1)
    return float(stats.nct.sf(student, prompts - 1, abs(effect) / spread * math.sqrt(prompts)))


def prompts_needed(effect: float, spread: float, wanted: float = 0.8, level: float = 0.95) -> int | None:
    """The fewest prompts that reach the wanted power; None where the effect is 0 or more than 100 000 are needed."""
    if not effect or not math.isfinite(effect) or not math.isfinite(spread):
        return None
    if power(MOST, effect, spread, level) < wanted:
        return None
    few, many = 2, 3
    while power(many, effect, spread, level) < wanted:
        few, many = many, many * 2
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if power(middle, effect, spread, level) >= wanted else (middle, many)
    return few if power(few, effect, spread, level) >= wanted else many


def detectable(prompts: int, spread: float, wanted: float = 0.8, level: float = 0.95) -> float:
    """The smallest true effect that so many prompts show with the wanted power."""
    if prompts < 3 or not spread > 0:
        return math.nan
    return float(
        optimize.brentq(lambda effect: power(prompts, effect, spread, level) - wanted, 1e-9 * spread, 50 * spread)
    )
