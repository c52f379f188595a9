"""When guidance acts and how strongly: progress of the sampling -> strength and CFG factor. Plain floats, no
torch.

Progress. A model call at train timestep t (999 = pure noise .. 0 = clean) has the progress

    f(t) = max(0, (998 - t) / 999)                          unit "noise"
    f(t) = k(t) / n, the k-th (from 0) of the run's n steps  unit "steps"

and is guided while ``start <= f < end``; an ``end`` of 1 includes the last step. Adjacent windows ([0, .5)
and [.5, 1)) therefore share no step and miss none.

The published rule maps a fraction to a train timestep T(f) = floor((1 - f) * 999) and guides
T(end) <= t <= T(start). For integer timesteps ours selects the same calls but one: a call at exactly
t = T(start) with start > 0 belongs to the window *before*. Example, four trailing steps 999 749 499 249: 0/.5
gives steps 1-3 in both rules; .5/1 gives step 4 here, steps 3-4 there (step 3 would be in both windows).

Unit "sigma": guided while ``start >= sigma > end``; a start of 0 means from the first step on.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

UNITS = ("noise", "steps", "sigma")
TRAIN_TIMESTEPS = 1000
_SLACK = 1e-9  # two fractions this close name the same boundary
_SAME_TIME = 1e-2  # train timesteps; samplers convert sigmas in float32


@dataclass(frozen=True)
class Schedule:
    """The window and its shape.

    ``start``, ``end``: 0..1 (sigma: 0 or more). ``unit``: one of UNITS. ``ramp_steps``: >= 0, the k-th
    guided step (from 0) has strength (k + 1) / ramp_steps up to 1. ``cooldown``: 0..1, for this much further
    progress after ``end`` (of the noise schedule when the unit is sigma) CFG becomes max(1, cfg * (1 -
    cooldown_drop)). Raises ValueError naming the field.
    """

    start: float = 0.0
    end: float = 1.0
    unit: str = "noise"
    ramp_steps: int = 0
    cooldown: float = 0.0
    cooldown_drop: float = 0.2

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit is {self.unit!r}; allowed: {', '.join(UNITS)}")
        top = math.inf if self.unit == "sigma" else 1.0
        limits = {"start": top, "end": top, "ramp_steps": math.inf, "cooldown": 1.0, "cooldown_drop": 1.0}
        for name, high in limits.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= high):
                span = "0 or more" if high == math.inf else "0 to 1"
                raise ValueError(f"{name} is {value!r}; allowed: {span}")

    @property
    def inverted(self) -> bool:
        """True where the end does not come after the start, so that no step can ever be guided."""
        if self.unit == "sigma":
            return 0 < self.start <= self.end
        return self.end <= self.start

    def resolve(self, times: Sequence[float], sigmas: Sequence[float] | None = None) -> Resolved:
        """Resolve against a sampler's own grid, before sampling.

        ``times``: train timesteps, one per sampler step (or model call; repeats count as one step), as a rule
        descending. ``sigmas``: as many (a trailing 0 is ignored); needed for unit "sigma". ValueError if
        empty, not finite, or without the sigmas needed.
        """
        return Resolved(self, tuple(float(t) for t in times), None if sigmas is None else tuple(map(float, sigmas)))


@dataclass(frozen=True)
class Resolved:
    """A schedule on one sampler's grid. Tuples have one entry per entry of ``times``."""

    schedule: Schedule
    times: tuple[float, ...]
    sigmas: tuple[float, ...] | None = None
    strength: tuple[float, ...] = field(init=False, default=())
    cfg_factor: tuple[float, ...] = field(init=False, default=())
    warnings: list[str] = field(init=False, default_factory=list)
    _grid: tuple[float, ...] = field(init=False, default=(), repr=False)  # distinct times, descending
    _first: int | None = field(init=False, default=None, repr=False)  # first guided place in the grid

    def __post_init__(self) -> None:
        if not self.times:
            raise ValueError("times is empty; allowed: at least one timestep")
        if not all(map(math.isfinite, self.times)):
            raise ValueError(f"times is {self.times!r}; allowed: finite timesteps")
        put = object.__setattr__
        if self.sigmas is not None:
            if len(self.sigmas) < len(self.times):
                raise ValueError(
                    f"sigmas has {len(self.sigmas)} entries; allowed: one per timestep ({len(self.times)})"
                )
            put(self, "sigmas", self.sigmas[: len(self.times)])
        elif self.schedule.unit == "sigma":
            raise ValueError("sigmas is missing; unit 'sigma' needs the sampler's sigmas")
        put(self, "_grid", tuple(sorted(set(self.times), reverse=True)))
        places = [self._place(t) for t in self._grid if self._inside(t)]
        put(self, "_first", min(places) if places else None)
        pairs = [self.strength_at(t) for t in self.times]
        put(self, "strength", tuple(s for s, _ in pairs))
        put(self, "cfg_factor", tuple(c for _, c in pairs))
        if self._first is None:
            self.warnings.append(self._empty_window())

    # -- the one rule ---

    def strength_at(self, t: float) -> tuple[float, float]:
        """(strength 0..1, CFG factor) of a model call at train timestep ``t``: what the gate asks, and what
        the tuples hold. Calls between two steps (second-order samplers) follow the same window; the ramp
        counts steps."""
        if self._first is None:
            return 0.0, 1.0
        t = float(t)
        if self._inside(t):
            ramp = self.schedule.ramp_steps
            k = max(0, self._place(t) - self._first)
            return (1.0 if ramp <= 1 else min(1.0, (k + 1) / ramp)), 1.0
        return 0.0, (1.0 - self.schedule.cooldown_drop if self._cooling(t) else 1.0)

    def step_at(self, t: float) -> int:
        """1-based number, in ``times``, of the sampler step that a call at train timestep ``t`` belongs
        to."""
        step = self._grid[self._place(float(t))]
        return self.times.index(step) + 1

    def progress(self, t: float) -> float:
        """Progress f of a call at train timestep ``t``, in the schedule's unit (sigma: that of the noise)."""
        if self.schedule.unit == "steps":
            return self._position(t) / len(self._grid)
        return max(0.0, (TRAIN_TIMESTEPS - 2 - t) / (TRAIN_TIMESTEPS - 1))

    # -- what a user sees ---

    def edges(self) -> list[float]:
        """Where a window can begin and end, in its unit: entry k lies between steps k and k + 1, the first before all
        steps, the last after them. With entries i - 1 and j as start and end, exactly the steps i to j are guided.
        Two decimals where they are enough; empty where two steps are at one place."""
        falling = self.schedule.unit == "sigma"
        places = [self._sigma(t) if falling else self.progress(t) for t in self.times]
        if places != sorted(set(places), reverse=falling):
            return []
        inner = []
        for last, following in itertools.pairwise(places):
            rounded = (math.ceil(following * 100) if falling else math.floor(following * 100)) / 100
            between = rounded < last * (1 - 2 * _SLACK) if falling else rounded > last + 2 * _SLACK
            inner.append(rounded if between else (last + following) / 2)
        return [0.0, *inner, 0.0 if falling else 1.0]

    @property
    def guided_steps(self) -> list[int]:
        """1-based numbers of the guided entries of ``times``."""
        return [i + 1 for i, s in enumerate(self.strength) if s > 0]

    @property
    def cooldown_steps(self) -> list[int]:
        """1-based numbers of the entries whose CFG is lowered."""
        return [i + 1 for i, c in enumerate(self.cfg_factor) if c != 1.0]

    def describe(self) -> str:
        """One line for people: which steps of how many, ramp, cooldown."""
        total = len(self.times)
        if not self.guided_steps:
            return f"guided: none of {total} steps"
        text = f"guided: steps {ranges(self.guided_steps)} of {total}"
        if any(0 < s < 1 for s in self.strength):
            text += ", strength " + " ".join(f"{s:.2g}" for s in self.strength if s > 0)
        if self.cooldown_steps:
            text += f"; CFG x{1 - self.schedule.cooldown_drop:.2g} in steps {ranges(self.cooldown_steps)}"
        return text

    # -- parts of the rule ---

    def _inside(self, t: float) -> bool:
        sch = self.schedule
        if sch.unit == "sigma":
            sigma = self._sigma(t)
            return (sch.start == 0 or sigma <= sch.start * (1 + _SLACK)) and sigma > sch.end * (1 + _SLACK)
        f = self.progress(t)
        return sch.start - _SLACK <= f and (f < sch.end - _SLACK or (sch.end >= 1 and sch.start < 1))

    def _cooling(self, t: float) -> bool:
        sch = self.schedule
        if sch.cooldown <= 0:
            return False
        if sch.unit == "sigma":
            if self._sigma(t) > sch.end * (1 + _SLACK):
                return False  # before the window
            after = [s for s in self._grid if self._sigma(s) <= sch.end * (1 + _SLACK)]
            return self.progress(t) < self.progress(after[0]) + sch.cooldown - _SLACK if after else False
        return sch.end - _SLACK <= self.progress(t) < sch.end + sch.cooldown - _SLACK

    def _place(self, t: float) -> int:
        """Index in the grid of the step a call at ``t`` belongs to (the last step whose time is not below
        t)."""
        return max(0, bisect_right(self._grid, -(t - _SAME_TIME), key=lambda x: -x) - 1)

    def _position(self, t: float) -> float:
        """The same, with the way to the next step as a fraction."""
        k = self._place(t)
        if k + 1 >= len(self._grid):
            return float(k)
        here, following = self._grid[k], self._grid[k + 1]
        return k + min(1.0, max(0.0, (here - t) / (here - following)))

    def _sigma(self, t: float) -> float:
        """Sigma at ``t``, log-linear between the steps."""
        assert self.sigmas is not None
        at = dict(zip(reversed(self.times), reversed(self.sigmas), strict=True))
        k = self._place(t)
        sigma = at[self._grid[k]]
        if k + 1 >= len(self._grid):
            return sigma
        rest, following = self._position(t) - k, at[self._grid[k + 1]]
        return sigma if rest <= _SLACK else sigma * (max(following, 1e-12) / max(sigma, 1e-12)) ** rest

    def _empty_window(self) -> str:
        sch = self.schedule
        if sch.unit == "sigma":
            have = ", ".join(f"{self._sigma(t):.3g}" for t in self._grid[:12])
        else:
            have = ", ".join(f"{self.progress(t):.3g}" for t in self._grid[:12])
        have += ", ..." if len(self._grid) > 12 else ""
        why = "end does not come after start" if sch.inverted else f"none of the {len(self._grid)} steps lies in it"
        return (
            f"No step is guided: the window start {sch.start:g}, end {sch.end:g} ({sch.unit}) is empty: "
            f"{why}. "
            f"The steps lie at {have}; start must not be beyond one of them and end must be beyond it."
        )


def lowered_cfg(cfg: float, factor: float) -> float:
    """The CFG scale of a step whose factor is ``factor``: never below 1 by that, and one that is no more than 1
    stays."""
    return cfg if factor == 1.0 or cfg <= 1.0 else max(1.0, cfg * factor)


def ranges(numbers: Sequence[int]) -> str:
    """[1, 2, 3, 5] -> "1-3, 5"."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
