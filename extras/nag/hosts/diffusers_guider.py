"""A guider for diffusers' modular pipelines: ``pipe.update_components(guider=NormalizedAttentionGuider(scale=3))``, and
the pipeline's own ``negative_prompt`` acts at CFG 1.

Guiders are experimental in diffusers: written for 0.42.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.guiders import ClassifierFreeGuidance
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ..guidance import Guidance
from ..report import Report
from ..settings import Settings
from ..taps import marked
from .diffusers import NagWarning

_TEXTS = ("prompt_embeds", "encoder_hidden_states")  # as the pipelines' denoising blocks name the text


class NormalizedAttentionGuider(ClassifierFreeGuidance):
    """NAG (arXiv 2505.21179) on the conditional batch of a modular pipeline for SDXL or SD3.

    ``scale``, ``tau``, ``alpha``, ``layers``: see Settings. ``begin``, ``end``: shares of the steps, 0 to 1, between
    which NAG acts. ``guidance_scale``: of CFG beside it, over all steps; 1 = without. ``report``: the account of the
    latest generation, ``reports`` of all; warnings come as NagWarning. Raises SettingsError for what is out of range,
    LayerError when the first step begins.
    """

    @register_to_config
    def __init__(
        self,
        scale: float = 3.0,
        tau: float = 2.5,
        alpha: float = 0.5,
        layers: str = "all",
        begin: float = 0.0,
        end: float = 1.0,
        guidance_scale: float = 1.0,
        enabled: bool = True,
    ):
        super().__init__(guidance_scale=guidance_scale, enabled=enabled)
        values = {"scale": scale, "tau": tau, "alpha": alpha, "layers": layers, "start": begin, "end": end}
        self.settings = Settings.parse({"enabled": True, "unit": "steps", **values})
        self.reports: list[Report] = []
        self._guidance: Guidance | None = None
        self._negative: Tensor | None = None
        self._rows = 0
        self._in_step = False
        self._handle: RemovableHandle | None = None

    @property
    def report(self) -> Report:
        """The latest generation's (of one in progress: so far)."""
        if self._guidance is not None:
            return self._guidance.report
        return self.reports[-1] if self.reports else Report(warnings=["no generation has run yet"])

    @property
    def num_conditions(self) -> int:
        """Of the steps: CFG's. Before them a pipeline asks whether to encode the negative prompt: yes."""
        own: int = super().num_conditions
        return own if self._in_step or not self._enabled else max(own, 2)

    def set_state(self, step: int, num_inference_steps: int, timestep: Any) -> None:
        """A step begins."""
        super().set_state(step, num_inference_steps, timestep)
        if step == 0:
            self._finish()

    def prepare_inputs(self, data: Any) -> Any:
        """The batches of a step; the negative's text is kept."""
        text = next((data[name] for name in _TEXTS if name in data), None)
        pair = text if isinstance(text, tuple) else (text, None)
        self._rows = 0 if pair[0] is None else pair[0].shape[0]
        self._negative = pair[1]
        self._in_step = True
        try:
            return super().prepare_inputs(data)
        finally:
            self._in_step = False

    def prepare_models(self, denoiser: torch.nn.Module) -> None:
        """Before each batch."""
        super().prepare_models(denoiser)
        if not self._enabled or not self.is_conditional:
            return
        steps = int(self._num_inference_steps or 1)
        times = [float(steps - i) for i in range(steps)]  # only their order counts: the window is in steps
        if self._guidance is None:
            self._guidance = Guidance(self.settings, denoiser, strict=True)
            self._guidance.begin(times)
        run = self._guidance
        run.step_at(times[int(self._step or 0)], key=self._step)
        if not run.acting:
            return
        if self._negative is None:
            run.skip("the pipeline gives no negative prompt in its steps")
            return
        run.set_negative(list(self._negative), key=id(self._negative))
        run.call([(row, row) for row in range(self._rows)])
        # cleanup_models() is not called where the model fails
        self._handle = denoiser.register_forward_hook(self._after_forward, always_call=True)

    def cleanup_models(self, denoiser: torch.nn.Module) -> None:
        """After each batch: no hook stays."""
        super().cleanup_models(denoiser)
        self._pause()

    def __call__(self, data: list[Any]) -> Any:
        """The prediction of a step, by CFG's formula."""
        self._in_step = True
        try:
            result = super().__call__(data)
        finally:
            self._in_step = False
        if self._step is not None and self._step + 1 == self._num_inference_steps:
            self._finish()
        return result

    @marked
    def _after_forward(self, *args: Any) -> None:
        self._pause()

    def _pause(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.remove()
        if self._guidance is not None:
            self._guidance.pause()

    def _finish(self) -> None:
        self._pause()
        run, self._guidance = self._guidance, None
        if run is None:
            return
        run.close()
        self.reports.append(run.report)
        for text in run.report.warnings:
            warnings.warn(text, NagWarning, stacklevel=4)
