"""Diversity hand-off (arXiv 2503.10637): the first steps on a base model, the rest on the model chosen in the host.

The steps are those of the few-step model's own grid; the latent goes on as it is. With a base checkpoint the host's
refiner makes the switch: the base is loaded first, the chosen checkpoint takes over. With a LoRA (handoff_lora.py) the
model stays. The base has its own CFG scale and the host's negative prompt; guidance by NAG begins on the model that
takes over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...field import SettingsError
from ...handoff import METHOD, report_of
from ...report import Report
from ...settings import Settings

__all__ = ["METHOD", "CheckpointHandoff", "Handoff", "handoff_of", "prepare", "set_cfg"]
_ATTRIBUTE = "nag_time_handoff"


@dataclass
class Handoff:
    """One job's. ``cfgs``: CFG scales of base and student. ``seen``: for each evaluation its step (from 1) and whether
    the base drew it."""

    steps: int
    cfgs: tuple[float, float]
    seen: list[tuple[int, bool]] = field(default_factory=list)

    @property
    def models(self) -> tuple[str, str]:
        """The names of base and student, for people."""
        raise NotImplementedError

    def on_base(self, sd_model: Any) -> bool:
        """True while the base draws."""
        raise NotImplementedError

    def begin_pass(self, p: Any) -> None:
        """A pass is about to be sampled. SettingsError where the hand-off cannot be."""

    def begin_step(self, denoiser: Any) -> None:
        """An evaluation of the sampler is about to be made."""

    def end_pass(self) -> None:
        """Everything is as the host left it. Any number of times."""

    def report(self, total: int) -> Report:
        """What happened, by step."""
        return report_of(self.seen, self.models, self.cfgs, total)


@dataclass
class CheckpointHandoff(Handoff):
    """From one checkpoint to another. ``base``, ``student``: the host's infos of them."""

    base: Any = None
    student: Any = None

    @property
    def models(self) -> tuple[str, str]:
        return self.base.name_for_extra, self.student.name_for_extra

    def on_base(self, sd_model: Any) -> bool:
        return getattr(getattr(sd_model, "sd_checkpoint_info", None), "filename", None) == self.base.filename


def prepare(p: Any, settings: Settings) -> None:
    """Before the host chooses a model for the job ``p``: let it begin with the base. SettingsError where it cannot."""
    setattr(p, _ATTRIBUTE, None)
    if settings.handoff_steps == 0:
        return
    if p.refiner_checkpoint not in (None, "", "None", "none"):
        raise SettingsError("handoff_steps", settings.handoff_steps, "0 while the host's refiner is in use")
    if settings.handoff_steps >= p.steps:
        raise SettingsError("handoff_steps", settings.handoff_steps, f"fewer than the {p.steps} steps of the sampling")
    if settings.handoff_lora.strip():
        from .handoff_lora import lora_handoff

        handoff: Handoff = lora_handoff(p, settings)
    else:
        handoff = _checkpoint_handoff(p, settings)
    setattr(p, _ATTRIBUTE, handoff)


def _checkpoint_handoff(p: Any, settings: Settings) -> Handoff:
    from modules import sd_models, shared

    titles = ", ".join(info.title for info in sd_models.checkpoints_list.values())
    match = sd_models.get_closet_checkpoint_match
    name = settings.handoff_checkpoint.strip()
    base = match(name) if name else None
    if base is None:
        raise SettingsError("handoff_checkpoint", name, f"one of {titles}")
    student = match(p.override_settings.get("sd_model_checkpoint") or shared.opts.sd_model_checkpoint)
    if student is None or student.filename == base.filename:
        raise SettingsError("handoff_checkpoint", name, "another checkpoint than the one chosen in the host")
    p.override_settings["sd_model_checkpoint"] = base.title
    p.override_settings["hires_fix_refiner_pass"] = "first pass"
    if "refiner_switch_by_sample_steps" in shared.opts.data_labels:
        p.override_settings["refiner_switch_by_sample_steps"] = True
    p.refiner_checkpoint, p.refiner_switch_at = student.title, settings.handoff_steps / p.steps
    cfgs = (settings.handoff_cfg, p.cfg_scale)
    return CheckpointHandoff(settings.handoff_steps, cfgs, base=base, student=student)


def handoff_of(p: Any) -> Handoff | None:
    """The hand-off of a job, or None."""
    return getattr(p, _ATTRIBUTE, None)


def set_cfg(p: Any, on_base: bool) -> None:
    """The job's CFG scale: the base's until the sampling begins (hosts leave the negative prompt out at 1), its own
    after it, as the metadata have it."""
    handoff = handoff_of(p)
    if handoff is not None:
        p.cfg_scale = handoff.cfgs[0 if on_base else 1]
