"""Search: which schedules of a model lie on the frontier of deletion and preservation, within a budget of pictures.

Optuna's multi-objective TPE proposes a window and a strength; each proposal is drawn on the same few pictures and
measured as any arm of a plan. Everything is seeded and every picture has its address, so a search that was stopped goes
on, and one that is repeated draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from extras.nag.presetbook import save_preset, user_folder
from extras.nag.schedule import ranges

from . import grid, runner
from .engines import Engine
from .errors import LabError
from .plan import Arm, Model, Plan
from .progress import Progress
from .store import Store

SEED = 20_250_521  # of the proposals


@dataclass
class Point:
    """A schedule and what it does: ``outcome``, ``preservation``: means over the pictures, by prompt."""

    arm: str
    settings: dict[str, Any]
    steps: str
    outcome: float
    preservation: float


@dataclass
class Found:
    """``frontier``: no other point beats one of these in both; ``best``: the one nearest to their ideal corner."""

    points: list[Point]
    frontier: list[Point]
    best: Point
    pictures: int
    preset: Path | None
    names: tuple[str, str] = field(default=("outcome", "preservation"))

    def text(self) -> str:
        """For the terminal."""
        lines = [f"{len(self.points)} schedules on {self.pictures} pictures; on the frontier:"]
        lines += [
            f"  {'*' if p is self.best else ' '} steps {p.steps:<7} scale {p.settings['scale']:<5g} alpha "
            f"{p.settings['alpha']:<5g} tau {p.settings['tau']:<4g}  {self.names[0]} {p.outcome:.3f}  "
            f"{self.names[1]} {p.preservation:.3f}"
            for p in self.frontier
        ]
        return "\n".join([*lines, f"preset: {self.preset}"])


def search(
    plan: Plan,
    folder: Path,
    engine: Engine,
    model: str | None = None,
    budget: int = 400,
    preset: str | None = None,
    show: Callable[[Progress], None] = lambda progress: None,
) -> Found:
    """Search for ``model`` (default: the plan's first) with at most ``budget`` new pictures; the winner becomes one of
    the user's presets. LabError where the budget is too small or a name is unknown."""
    try:
        import optuna
    except ImportError:
        raise LabError("search: the package optuna is not installed; extras/lab/requirements.txt has it") from None
    model = model or next(iter(plan.models))
    if model not in plan.models:
        raise LabError(f"--model: {model!r} is not in the plan; there are: {', '.join(plan.models)}")
    each = len(plan.pairs) * min(plan.search.seeds, plan.seeds.count)
    trials = budget // each - 1  # the untreated pictures are drawn once
    if trials < 2:
        raise LabError(f"--budget: {budget} pictures are too few: a schedule takes {each}, the least is {3 * each}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        directions=["maximize", "maximize"], sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=trials // 3)
    )
    windows = _windows(plan.models[model])
    trying = _Trying(plan, model, folder, engine)
    progress = Progress("searching", trials)
    for number in range(trials):
        trial = study.ask()
        point = trying.measure(number, _propose(trial, plan, windows))
        study.tell(trial, (point.outcome, point.preservation))
        progress.add(1)
        show(progress)
    trying.keep_all()
    frontier = _frontier(trying.points)
    best = _nearest_to_ideal(frontier)
    path = _write_preset(plan, model, best, preset, trying)
    names = (plan.search.outcome, plan.search.preservation)
    return Found(trying.points, frontier, best, each * (trials + 1), path, names)


class _Trying:
    """Draws and measures one proposal after the other into one folder."""

    def __init__(self, plan: Plan, model: str, folder: Path, engine: Engine):
        seeds = plan.seeds.at_most(plan.search.seeds)
        metrics = list(dict.fromkeys([plan.search.outcome, plan.search.preservation]))
        self.plan = plan.model_copy(update={"seeds": seeds, "metrics": metrics, "hypotheses": []})
        self.model, self.folder, self.engine = model, folder, engine
        self.arms: list[Arm] = []
        self.points: list[Point] = []

    def measure(self, number: int, settings: dict[str, Any]) -> Point:
        arm = Arm(name=f"try {number + 1}", role="nag-time", family="search", models=[self.model], nag=settings)
        self.arms.append(arm)
        self._run([arm])
        wanted = (self.plan.search.outcome, self.plan.search.preservation)
        with Store.read(self.folder) as store:
            rows = store.frame()
        rows = rows[rows["arm"] == arm.name]
        if rows.empty or any(name not in rows or rows[name].isna().all() for name in wanted):
            raise LabError(f"search: {arm.name} has no {' or no '.join(wanted)}; is the metric's checkpoint named?")
        outcome, preservation = (float(rows.groupby("pair")[name].mean().mean()) for name in wanted)
        point = Point(arm.name, settings, str(rows["guided"].iloc[0]), outcome, preservation)
        self.points.append(point)
        return point

    def keep_all(self) -> None:
        """Leave the folder with every proposal as an arm, for the report."""
        self._run(self.arms)

    def _run(self, arms: list[Arm]) -> None:
        plan = self.plan.model_copy(update={"arms": arms, "models": self.plan.models})
        outcome = runner.run(
            plan, plan.model_dump_json(indent=1), self.folder, self.engine, command=runner.command_line()
        )
        if outcome.failed:
            raise LabError(f"search: {outcome.failed} pictures failed: {outcome.errors[0]}")


def _windows(model: Model) -> dict[str, tuple[float, float]]:
    """Steps ("2-3") -> the start and end that resolve to them. Every run of steps where there are few; runs between
    quarters where there are many."""
    times = grid.times(model.sampler, model.scheduler, model.steps)
    at = [max(0.0, (998 - t) / 999) for t in times]
    n = len(at)
    cuts = sorted({round(n * i / 8) for i in range(9)}) if n > 8 else list(range(n + 1))
    found = {}
    for first in cuts[:-1]:
        for last in (c for c in cuts if c > first):
            start = 0.0 if first == 0 else round((at[first - 1] + at[first]) / 2, 3)
            end = 1.0 if last == n else round((at[last - 1] + at[last]) / 2, 3)
            found[ranges(list(range(first + 1, last + 1)))] = (start, end)
    return found


def _propose(trial: Any, plan: Plan, windows: dict[str, tuple[float, float]]) -> dict[str, Any]:
    start, end = windows[trial.suggest_categorical("steps", list(windows))]
    settings: dict[str, Any] = {"start": start, "end": end}
    for name, digits in (("scale", 1), ("alpha", 3), ("tau", 2)):
        low, high = getattr(plan.search, name)
        settings[name] = round(trial.suggest_float(name, low, high), digits) if high > low else low
    return settings


def _frontier(points: list[Point]) -> list[Point]:
    """Those that no other beats in both; from most outcome to most preservation."""

    def beaten(p: Point) -> bool:
        return any(
            q.outcome >= p.outcome and q.preservation >= p.preservation
            and (q.outcome > p.outcome or q.preservation > p.preservation)
            for q in points
        )  # fmt: skip

    return sorted((p for p in points if not beaten(p)), key=lambda p: (-p.outcome, -p.preservation))


def _nearest_to_ideal(frontier: list[Point]) -> Point:
    """Both objectives scaled to the frontier's own range; the ideal has the best of each."""
    high, low = frontier[0], frontier[-1]
    spans = (high.outcome - low.outcome or 1.0, low.preservation - high.preservation or 1.0)

    def distance(p: Point) -> float:
        return ((high.outcome - p.outcome) / spans[0]) ** 2 + ((low.preservation - p.preservation) / spans[1]) ** 2

    return min(frontier, key=distance)


def _write_preset(plan: Plan, model: str, best: Point, name: str | None, trying: _Trying) -> Path:
    about = plan.models[model]
    host = {"sampler": about.sampler, "scheduler": about.scheduler, "steps": about.steps, "cfg": about.cfg}
    note = (
        f"Found by a search on {about.checkpoint}: steps {best.steps} of {about.steps}, "
        f"{plan.search.outcome} {best.outcome:.2f}, {plan.search.preservation} {best.preservation:.3f} "
        f"on {len(plan.pairs)} prompts."
    )
    return save_preset(name or f"{about.checkpoint} {plan.name} search", best.settings, note, host, user_folder())
