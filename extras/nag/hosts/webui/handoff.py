"""Diversity hand-off (arXiv 2503.10637): the first steps on a base model, the rest on the model chosen in the host.

The steps are those of the few-step model's own grid; the latent goes on as it is. The host's refiner makes the
switch: the base is loaded first, the chosen checkpoint takes over. The base has its own CFG scale and the host's
negative prompt; guidance by NAG begins on the model that takes over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...fields import SettingsError
from ...report import Report
from ...schedule import ranges
from ...settings import Settings

_ATTRIBUTE = "nag_time_handoff"
METHOD = "hand-off"


class HandoffReport(Report):
    """Calls are evaluations of the base model; there is no change to measure."""

    def summary(self) -> str:
        return self.schedule + "".join(f"; {w}" for w in self.warnings)


@dataclass
class Handoff:
    """One job's. ``base``, ``student``: the host's checkpoint infos. ``cfgs``: their CFG scales. ``seen``: for each
    evaluation its step (from 1) and whether the base drew it."""

    steps: int
    base: Any
    student: Any
    cfgs: tuple[float, float]
    seen: list[tuple[int, bool]] = field(default_factory=list)

    def on_base(self, sd_model: Any) -> bool:
        """True while the base model is the one in memory."""
        return getattr(getattr(sd_model, "sd_checkpoint_info", None), "filename", None) == self.base.filename

    def report(self, total: int) -> Report:
        """What happened, by step."""
        steps = sorted({step for step, base in self.seen if base})
        later = any(not base for _, base in self.seen)
        base, student = (info.name_for_extra for info in (self.base, self.student))
        text = f"steps {ranges(steps) or 'none'} of {total} on {base} at CFG {self.cfgs[0]:g}"
        text += f", then {student} at CFG {self.cfgs[1]:g}" if later else ""
        told = [] if later or not self.seen else [f"the sampling ended before {student} took over"]
        lines = [
            {
                "step": step,
                "strength": 0.0,
                "cfg_factor": 1.0,
                "calls": 1,
                "change": 0.0,
                "model": base if on else student,
            }
            for step, on in dict(self.seen).items()
        ]
        report = HandoffReport(steps=total, guided_steps=steps, schedule=text, per_step=lines, method=METHOD)
        report.calls, report.warnings = sum(base for _, base in self.seen), told
        return report


def prepare(p: Any, settings: Settings) -> None:
    """Before the host chooses a model for the job ``p``: let it begin with the base. SettingsError where it cannot."""
    from modules import sd_models, shared

    setattr(p, _ATTRIBUTE, None)
    if settings.handoff_steps == 0:
        return
    titles = ", ".join(info.title for info in sd_models.checkpoints_list.values())
    match = sd_models.get_closet_checkpoint_match
    name = settings.handoff_checkpoint.strip()
    base = match(name) if name else None
    if base is None:
        raise SettingsError("handoff_checkpoint", name, f"one of {titles}")
    student = match(p.override_settings.get("sd_model_checkpoint") or shared.opts.sd_model_checkpoint)
    if student is None or student.filename == base.filename:
        raise SettingsError("handoff_checkpoint", name, "another checkpoint than the one chosen in the host")
    if p.refiner_checkpoint not in (None, "", "None", "none"):
        raise SettingsError("handoff_steps", settings.handoff_steps, "0 while the host's refiner is in use")
    if settings.handoff_steps >= p.steps:
        raise SettingsError("handoff_steps", settings.handoff_steps, f"fewer than the {p.steps} steps of the sampling")
    p.override_settings["sd_model_checkpoint"] = base.title
    p.override_settings["hires_fix_refiner_pass"] = "first pass"
    if "refiner_switch_by_sample_steps" in shared.opts.data_labels:
        p.override_settings["refiner_switch_by_sample_steps"] = True
    p.refiner_checkpoint, p.refiner_switch_at = student.title, settings.handoff_steps / p.steps
    handoff = Handoff(settings.handoff_steps, base, student, (settings.handoff_cfg, float(p.cfg_scale)))
    setattr(p, _ATTRIBUTE, handoff)


def handoff_of(p: Any) -> Handoff | None:
    """The hand-off of a job, or None."""
    return getattr(p, _ATTRIBUTE, None)


def set_cfg(p: Any, on_base: bool) -> None:
    """The job's CFG scale: the base's until the sampling begins (hosts leave the negative prompt out at 1), its own
    after it, as the metadata have it."""
    handoff = handoff_of(p)
    if handoff is not None:
        p.cfg_scale = handoff.cfgs[0 if on_base else 1]
