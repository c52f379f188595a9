"""Guidance of one Fooocus picture.

``process_diffusion`` is the one way to a picture. While it runs, the two functions that everything goes through are
ours: ``modules.sample_hijack.sample_hacked`` (one pass: which sigmas; Fooocus puts it into its samplers anew for every
pass) and ``ldm_patched.modules.samplers.sampling_function`` (one evaluation: network, sigma, CFG scale). Both call
Fooocus's own, so its sharpness and adaptive CFG are as ever. They are put back whatever happens.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...guidance import Guidance
from ...part import undo
from ...taps import remove_leftovers
from ..webui.grid import Grid
from ..webui.negative import strip_tags
from ..webui.others import Others
from ..webui.rows import rows_of_options
from .task import NagTask


def guided(process_diffusion: Callable[..., Any]) -> Callable[..., Any]:
    """Fooocus's ``process_diffusion`` with one more keyword, ``nag_time``: the NagTask, or None for no guidance."""

    @functools.wraps(process_diffusion)
    def process(*args: Any, nag_time: NagTask | None = None, **kwargs: Any) -> Any:
        if nag_time is not None:
            nag_time.begin_picture()
        if nag_time is None or nag_time.settings is None:
            return process_diffusion(*args, **kwargs)
        seed = inspect.signature(process_diffusion).bind(*args, **kwargs).arguments.get("image_seed", 0)
        try:
            picture = Picture(nag_time, int(seed))
        except Exception as error:
            nag_time.fail(error)
            return process_diffusion(*args, **kwargs)
        try:
            return process_diffusion(*args, **kwargs)
        finally:
            picture.close()
            nag_time.tell()

    return process


class Picture:
    """Guidance of the passes of one picture, from construction to close()."""

    def __init__(self, task: NagTask, seed: int):
        from ldm_patched.modules import samplers

        import modules.default_pipeline as pipeline
        from modules import sample_hijack

        assert task.settings is not None
        self.task, self.settings, self.seed = task, task.settings, seed
        self.pipeline, self.samplers, self.hijack = pipeline, samplers, sample_hijack
        self.failed = False
        self.passes = 0
        self.warnings: list[str] = []
        self.encoded = self._encode(self.settings.negative)
        self._pass: Pass | None = None
        self._own_sample, self._own_evaluate = sample_hijack.sample_hacked, samplers.sampling_function
        sample_hijack.sample_hacked, samplers.sampling_function = self._sample, self._evaluate

    def _encode(self, text: str) -> list[Any]:
        """As the worker encodes its prompts: each line by itself, joined on the token axis."""
        text, tags = strip_tags(text)
        if tags:
            self.warnings.append(f"taken out of the NAG negative: {' '.join(tags)}")
        lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
        return list(self.pipeline.clip_encode(lines))

    def context(self, model: Any) -> Tensor:
        """(tokens, channels) of the negative for this model: a refiner has another width."""
        cond = self.encoded
        if model is not self.pipeline.final_unet.model:
            cond = self.hijack.clip_separate(cond, target_model=model, target_clip=self.pipeline.final_clip)
        return cond[0][0][0]

    # -- in the place of Fooocus's own ---

    def _sample(self, model: Any, noise: Any, positive: Any, negative: Any, *args: Any, **kwargs: Any) -> Any:
        function = self._own_sample
        given = inspect.signature(function).bind(model, noise, positive, negative, *args, **kwargs).arguments
        self._guard(lambda: self._begin(given["sigmas"]))
        try:
            return function(model, noise, positive, negative, *args, **kwargs)
        finally:
            self._end()

    def _evaluate(
        self, model: Any, x: Any, timestep: Any, uncond: Any, cond: Any, cond_scale: float, **more: Any
    ) -> Any:
        scale = float(cond_scale)
        running = self._pass
        if running is not None and not self.failed:
            scale = self._guard(lambda: running.evaluate(model, timestep, scale), scale)
        return self._own_evaluate(model, x, timestep, uncond, cond, scale, **more)

    # -- ours ---

    def _begin(self, sigmas: Tensor) -> None:
        self._end()
        self._pass = Pass(self, sigmas)

    def _end(self) -> None:
        running, self._pass = self._pass, None
        if running is not None:
            self._guard(running.close)

    def _guard(self, action: Callable[[], Any], otherwise: Any = None) -> Any:
        """Our error switches guidance off for this picture; the picture goes on."""
        if self.failed:
            return otherwise
        try:
            return action()
        except Exception as error:
            self.failed = True
            self.task.fail(error)
            running, self._pass = self._pass, None
            if running is not None:
                undo([running.close])
            return otherwise

    def close(self) -> None:
        """Fooocus's own functions are back, no hook is left. Never raises."""
        self.hijack.sample_hacked, self.samplers.sampling_function = self._own_sample, self._own_evaluate
        if getattr(self.samplers, "sample", None) == self._sample:  # where Fooocus has put it
            self.samplers.sample = self._own_sample
        failed, self.failed = self.failed, False
        self._end()
        if not failed and not self.passes:
            self.task.fail(RuntimeError("this Fooocus draws in a way that NAG Time does not know (it knows 2.5.5)"))


class Pass:
    """One walk through a grid of sigmas; the refiner of a joint walk takes over in the middle of it."""

    def __init__(self, picture: Picture, sigmas: Tensor):
        self.picture = picture
        self.sigmas = tuple(float(s) for s in sigmas.tolist()[:-1] if s > 0)
        self.grid = Grid((), ())
        self.evaluations = 0
        self.model: Any = None
        self.run: Guidance | None = None
        self._handle: Any = None
        self._others = Others()  # an image prompt is one

    def evaluate(self, model: Any, sigma: Tensor, scale: float) -> float:
        """Before each evaluation: open or close the hooks; returns the CFG scale to use."""
        if model is not self.model:
            self._load(model)
        run = self.run
        assert run is not None
        self.picture.passes += not self.evaluations
        run.step_at(self._time(float(sigma.reshape(-1)[0])), key=self.evaluations)
        self.evaluations += 1
        if run.acting and self._handle is None:
            self._handle = model.diffusion_model.register_forward_pre_hook(self._before, prepend=True, with_kwargs=True)
        elif not run.acting:
            self._unwatch()
        return run.cfg_scale(scale)

    def _load(self, model: Any) -> None:
        self.close()
        self.model = model
        sampling = model.model_sampling
        discrete = hasattr(sampling, "sigmas") and hasattr(sampling, "timestep")
        times = [float(sampling.timestep(torch.tensor(s))) for s in self.sigmas] if discrete else []
        if len(set(times)) < len(times) or not discrete:  # a model without train timesteps: shares of steps
            times = torch.linspace(999, 0, len(self.sigmas)).tolist()
        self.grid = Grid(tuple(times), self.sigmas)
        self.run = Guidance(self.picture.settings, model.diffusion_model)
        self.run.set_seeds([self.picture.seed])
        for text in self.picture.warnings:
            self.run.warn(text)
        if self.run.needs_negative:
            self.run.set_negative([self.picture.context(model)])
        self.run.begin(self.grid.times, self.grid.sigmas)

    def _time(self, sigma: float) -> float:
        """The grid's own time where the sigma is one of it, else the model's, else that of the nearest on the grid."""
        known = self.grid.time_at(sigma)
        if known is not None:
            return known
        if hasattr(self.model.model_sampling, "sigmas"):
            return float(self.model.model_sampling.timestep(torch.tensor(sigma)))
        return min(zip(self.sigmas, self.grid.times, strict=True), key=lambda pair: abs(pair[0] - sigma))[1]

    def _before(self, network: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.picture._guard(lambda: self._call(args, kwargs))

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        run = self.run
        if run is None:
            return
        count = int((args[0] if args else kwargs["x"]).shape[0])
        self._others.watch(run, kwargs)
        run.call(rows_of_options(kwargs.get("transformer_options") or {}, count), total=count)

    def _unwatch(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.remove()

    def close(self) -> None:
        """No hook is left; the task has the reports."""
        run, self.run, self.model = self.run, None, None
        self._unwatch()
        if run is None:
            return
        try:
            reports = run.close()
        except Exception:  # the last way out: whatever it has left in the model
            remove_leftovers(run.model)
            self.picture.task.done(run.reports)  # what was guided, was
            raise
        for method, texts in self._others.told(run).items():
            reports[method].warnings += texts
        self.picture.task.done(reports)
