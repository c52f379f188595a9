"""Diversity hand-off (arXiv 2503.10637): the account of the first steps on a base model, and which of them are its.

The steps are those of the few-step model's own grid; the latent goes on as it is. The base is another checkpoint, or
the same one with a distillation LoRA still off.
"""

from __future__ import annotations

from collections.abc import Sequence

from .report import Report
from .schedule import ranges

METHOD = "hand-off"


def lora_names(text: str) -> list[str]:
    """The names in ``handoff_lora``: separated by commas, each once, in their order."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


class HandoffReport(Report):
    """Calls are evaluations of the base model; there is no change to measure."""

    def summary(self) -> str:
        return self.schedule + "".join(f"; {w}" for w in self.warnings)


def report_of(
    seen: Sequence[tuple[int, bool]], models: tuple[str, str], cfgs: tuple[float, float], total: int
) -> Report:
    """``seen``: for each evaluation its step (from 1) and whether the base drew it; ``models``, ``cfgs``: the base's
    and the student's; ``total``: steps of the sampling."""
    steps = sorted({step for step, base in seen if base})
    later = any(not base for _, base in seen)
    base, student = models
    text = f"steps {ranges(steps) or 'none'} of {total} on {base} at CFG {cfgs[0]:g}"
    text += f", then {student} at CFG {cfgs[1]:g}" if later else ""
    told = [] if later or not seen else [f"the sampling ended before {student} took over"]
    lines = [
        {"step": step, "strength": 0.0, "cfg_factor": 1.0, "calls": 1, "change": 0.0, "model": base if on else student}
        for step, on in dict(seen).items()
    ]
    report = HandoffReport(steps=total, guided_steps=steps, schedule=text, per_step=lines, method=METHOD)
    report.calls, report.warnings = sum(base for _, base in seen), told
    return report
