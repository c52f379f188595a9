"""What a run did: counted and measured in it, not copied from what was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from .schedule import ranges

NOTHING_GUIDED = "no attention call was guided although the window contains steps"
ENDED_EARLY = "nothing was guided: sampling ended before the window's first step"
NO_STEP = "nothing was guided: the pass ended before its first step, or the host told of none"


@dataclass
class Report:
    """The account of one run.

    ``layers``: layers chosen. ``calls``: attention calls guided. ``forwards``: model calls in which some
    were. ``guided_steps``: 1-based sampler steps guided, ``steps`` how many there were. ``mean_change``:
    mean over the guided calls of |out - z_pos|_1 / |z_pos|_1, 0 and up. ``per_step``: dicts with step,
    strength, cfg_factor, calls, change. ``per_layer``: layer name -> dict with notation, calls, change.
    ``seconds``: from begin to close. ``method``: its name. For a method that works with extra predictions,
    ``calls`` counts these, and ``mean_change`` is that of the conditional prediction, |c' - c|_1 / |c|_1.
    """

    layers: int = 0
    calls: int = 0
    forwards: int = 0
    steps: int = 0
    guided_steps: list[int] = field(default_factory=list)
    mean_change: float = 0.0
    per_step: list[dict[str, Any]] = field(default_factory=list)
    per_layer: dict[str, dict[str, Any]] = field(default_factory=dict)
    schedule: str = ""
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0
    method: str = "NAG"

    @property
    def acted(self) -> bool:
        """True where guidance changed something."""
        return self.calls > 0 and self.mean_change > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def summary(self) -> str:
        """One line for people."""
        if self.error:
            return f"{self.method} stopped: {self.error}"
        if not self.calls:
            return f"{self.method} did not act" + (f": {self.warnings[0]}" if self.warnings else "")
        line = (
            f"{self.method} guided steps {ranges(self.guided_steps)} of {self.steps}, {self.layers} layers, "
            f"{self.calls} calls, mean change {self.mean_change:.1%}"
        )
        return line + "".join(f"; {w}" for w in self.warnings)

    def infotext(self) -> dict[str, str]:
        """What belongs into a picture's metadata beside the settings; keys every WebUI accepts."""
        result: dict[str, str] = {}
        name = "NAG" if self.method == "NAG" else "NAG " + self.method.replace("NAG-", "NAG").replace("-", " ")
        if self.calls:
            result[f"{name} guided steps"] = f"{ranges(self.guided_steps)} of {self.steps}"
            result[f"{name} guided calls"] = str(self.calls)
            result[f"{name} mean change"] = f"{self.mean_change:.3g}"
        if self.error:
            result[f"{name} error"] = self.error
        elif self.warnings:
            result[f"{name} warning"] = "; ".join(self.warnings)
        return result


def combine(reports: Iterable[Report]) -> Report:
    """One account of several runs over the same schedule: batches, or before and after a change of model.

    Calls and seconds add up, changes are means weighted by calls. "Nothing was guided" is only repeated when
    it is true of all runs together; the first error stands.
    """
    result = Report()
    total = 0.0
    steps: dict[int, dict[str, Any]] = {}
    for report in reports:
        total += report.mean_change * report.calls
        result.method = report.method
        result.layers = max(result.layers, report.layers)
        result.steps = max(result.steps, report.steps)
        result.calls += report.calls
        result.forwards += report.forwards
        result.seconds += report.seconds
        result.schedule = result.schedule or report.schedule
        result.error = result.error or report.error
        result.warnings += [w for w in report.warnings if w not in result.warnings]
        for line in report.per_step:
            _add(steps.setdefault(line["step"], {**line, "calls": 0, "change": 0.0}), line)
            steps[line["step"]]["strength"] = max(steps[line["step"]]["strength"], line["strength"])
        for name, entry in report.per_layer.items():
            _add(result.per_layer.setdefault(name, {**entry, "calls": 0, "change": 0.0}), entry)
    result.per_step = [steps[number] for number in sorted(steps)]
    result.guided_steps = [line["step"] for line in result.per_step if line["calls"]]
    result.mean_change = total / result.calls if result.calls else 0.0
    if result.calls:
        result.warnings = [w for w in result.warnings if w not in (NOTHING_GUIDED, ENDED_EARLY, NO_STEP)]
    return result


def _add(into: dict[str, Any], line: dict[str, Any]) -> None:
    calls = into["calls"] + line["calls"]
    if calls:
        into["change"] = (into["change"] * into["calls"] + line["change"] * line["calls"]) / calls
    into["calls"] = calls
