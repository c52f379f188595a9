"""Hand-off by a LoRA of the prompt: off in the first steps, then on. No second model, nothing loaded in mid-run.

A1111's LoRA extension reads each network's multiplier at every call of a layer, so a multiplier of 0 is "off" and the
next call follows a change of it; so does the Studio's. The Forge family writes LoRAs into the weights when the model is
made ready for a job, before the sampling, and cannot.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from ...field import SettingsError
from ...handoff import lora_names
from ...settings import Settings
from .handoff import Handoff


@dataclass
class LoraHandoff(Handoff):
    """``names``: of the LoRAs. Their part in the text encoder stays on: texts are encoded before the sampling."""

    names: list[str] = field(default_factory=list)
    share: float = 0.0  # of the sampling that is the base's
    checkpoint: str = ""
    off: bool = False
    first_pass: bool = True
    own: list[tuple[Any, float]] = field(default_factory=list)  # (network, the multiplier that the prompt gave it)

    @property
    def models(self) -> tuple[str, str]:
        return self.checkpoint, f"{self.checkpoint} with {', '.join(self.names)}"

    def on_base(self, sd_model: Any) -> bool:
        return self.off

    def begin_pass(self, p: Any) -> None:
        self.end_pass()
        loaded = {net.name: net for net in getattr(sys.modules.get("networks"), "loaded_networks", ())}
        for name in self.names:
            if not getattr(loaded.get(name), "unet_multiplier", 0):
                there = ", ".join(net.name for net in loaded.values() if net.unet_multiplier) or "none"
                raise SettingsError("handoff_lora", name, f"a LoRA that the prompt uses, with a weight; there: {there}")
        self.checkpoint = getattr(getattr(p.sd_model, "sd_checkpoint_info", None), "name_for_extra", "the checkpoint")
        self.own = [(loaded[name], loaded[name].unet_multiplier) for name in self.names]
        self.first_pass = not getattr(p, "is_hr_pass", False)
        self._switch(off=self.first_pass)

    def begin_step(self, denoiser: Any) -> None:
        self._switch(off=self.first_pass and denoiser.step / denoiser.total_steps < self.share)

    def end_pass(self) -> None:
        own, self.own, self.off = self.own, [], False
        for network, multiplier in own:
            network.unet_multiplier = multiplier

    def _switch(self, off: bool) -> None:
        self.off = off
        for network, multiplier in self.own:
            network.unet_multiplier = 0.0 if off else multiplier


def lora_handoff(p: Any, settings: Settings) -> Handoff:
    """The hand-off of this job. SettingsError where the host cannot, or two ways are asked for."""
    text = settings.handoff_lora
    if settings.handoff_checkpoint.strip():
        raise SettingsError("handoff_lora", text, "nothing while a hand-off checkpoint is named")
    if "modules_forge" in sys.modules:
        what = "nothing in this host: it writes LoRAs into the model's weights before the sampling. A1111 can"
        raise SettingsError("handoff_lora", text, f"{what}; here, name a hand-off checkpoint")
    if not hasattr(sys.modules.get("networks"), "loaded_networks"):
        raise SettingsError("handoff_lora", text, "nothing where the host's own LoRA extension is switched off")
    names = lora_names(text)
    cfgs = (settings.handoff_cfg, p.cfg_scale)
    return LoraHandoff(settings.handoff_steps, cfgs, names=names, share=settings.handoff_steps / p.steps)
