"""Hand-off in a diffusers pipeline: its LoRA adapters (PEFT's layers) off in the first steps, then on."""

from __future__ import annotations

from typing import Any

from ..field import SettingsError
from ..handoff import lora_names, report_of
from ..report import Report
from ..settings import Settings


class AdapterHandoff:
    """``names``: adapters, as load_lora_weights(adapter_name=…) named them. ``cfgs``: CFG scales of base and
    student."""

    def __init__(self, module: Any, settings: Settings):
        self.module, self.steps = module, settings.handoff_steps
        self.names = lora_names(settings.handoff_lora)
        self.cfgs = (settings.handoff_cfg, 1.0)
        self.seen: list[tuple[int, bool]] = []
        self._own: list[tuple[dict[str, float], str, float]] = []  # (a layer's scalings, adapter, its own value)
        if settings.handoff_checkpoint.strip():
            allowed = "nothing in a pipeline, which has one model; name a LoRA (handoff_lora)"
            raise SettingsError("handoff_checkpoint", settings.handoff_checkpoint, allowed)
        self._layers()

    def begin(self, total: int, cfg: float | None) -> None:
        """A generation of ``total`` steps begins. ``cfg``: the call's own scale, 1 without CFG. SettingsError where it
        cannot be handed off."""
        self.end()
        if self.steps >= total:
            raise SettingsError("handoff_steps", self.steps, f"fewer than the {total} steps of the sampling")
        if cfg in (None, 1) and self.cfgs[0] != 1:
            allowed = "1, in a call without CFG; guidance_scale=1.001 computes both halves in all steps"
            raise SettingsError("handoff_cfg", self.cfgs[0], allowed)
        self.cfgs, self.seen = (self.cfgs[0], cfg or 1.0), []
        self._own = self._layers()

    def step(self, number: int) -> bool:
        """Step ``number`` (from 1) is about to be made; True where it is the base's."""
        on_base = number <= self.steps
        self.seen.append((number, on_base))
        for scalings, name, value in self._own:
            scalings[name] = 0.0 if on_base else value
        return on_base

    def end(self) -> None:
        """The adapters have their own strength. Any number of times."""
        own, self._own = self._own, []
        for scalings, name, value in own:
            scalings[name] = value

    def report(self, total: int) -> Report:
        """What happened, by step."""
        return report_of(self.seen, ("the model", f"the model with {', '.join(self.names)}"), self.cfgs, total)

    def _layers(self) -> list[tuple[dict[str, float], str, float]]:
        """SettingsError names an adapter that is not there, or is off."""
        found = [
            (layer.scaling, name, float(layer.scaling[name]))
            for layer in self.module.modules()
            if isinstance(getattr(layer, "scaling", None), dict)
            for name in self.names
            if name in layer.scaling
        ]
        for name in self.names:
            if not any(value for _, each, value in found if each == name):
                there = {n for m in self.module.modules() for n in getattr(m, "scaling", None) or () if n}
                allowed = f"an adapter of the pipeline, not fused; there: {', '.join(sorted(there)) or 'none'}"
                raise SettingsError("handoff_lora", name, allowed)
        if not self.names:
            raise SettingsError(
                "handoff_lora", "", "the adapter that is off in the first steps, where handoff_steps > 0"
            )
        return found
