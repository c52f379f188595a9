"""diffusers pipelines: ``with guide(pipe, negative="glasses", scale=3) as run: image = pipe("a
nerd").images[0]``.

Everything the core needs is read at the denoiser's own forward: which rows are conditional, and where in the
scheduler's grid the call stands. What differs between pipelines is in diffusers_pipes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ..compiled import NOTE, Slot, ours, slot_of
from ..guidance import ALL_OFF, Guidance
from ..handoff import METHOD
from ..methods import NAG
from ..report import Report
from ..settings import Settings
from .diffusers_handoff import AdapterHandoff
from .diffusers_images import keep_apart, tell_mixed
from .diffusers_pipes import Call, Encoded, pipe_of


class NagWarning(UserWarning):
    """Guidance has something to tell: an empty window, an empty negative, layers out of reach."""


class Guide:
    """What guide() gives: guidance of every generation of ``pipe`` inside the ``with`` block.

    ``report``: the account of the latest generation, ``reports`` of all: NAG's, or that of the first method where NAG
    is off. ``methods``: the latest generation's, method -> report. ``settings``: the record in force.
    """

    strict = True  # an error of ours ends the generation; in a WebUI it goes on unguided

    def __init__(
        self, pipe: Any, negative: str | Sequence[str], settings: Settings, seeds: Sequence[int] | None = None
    ):
        self.pipe, self.settings, self.kind = pipe, settings, pipe_of(pipe)
        self.negatives = [negative] if isinstance(negative, str) else list(negative)
        if not self.negatives or not all(isinstance(n, str) for n in self.negatives):
            raise ValueError(f"negative is {negative!r}; allowed: a text, or one text per prompt or image")
        self.seeds = None if seeds is None else list(seeds)
        self.reports: list[Report] = []
        self._methods: dict[str, Report] = {}
        self._run: Guidance | None = None
        self._grid: Any = None  # the scheduler's timesteps tensor of the generation in progress
        self._times: list[float] = []
        self._calls = 0
        self._ahead = False  # the negatives have still to be encoded, before the denoiser is brought to its device
        self._restore: Callable[[], None] | None = None  # gives the pipeline its own CFG scale back
        self._handle: Any = None
        self._compiled: Slot | None = None  # of the denoiser, where it is compiled itself
        self._encoded: dict[str, Encoded] = {}
        self._handoff = AdapterHandoff(self.kind.module, settings) if settings.handoff_steps else None
        self._on_base = False

    @property
    def report(self) -> Report:
        """The latest generation's report (of a run in progress: so far)."""
        if self._run is not None:
            return self._run.report
        return self.reports[-1] if self.reports else Report(warnings=["no generation has run yet"])

    @property
    def methods(self) -> dict[str, Report]:
        """Method -> report of the latest generation (of one in progress: so far)."""
        return self._run.reports if self._run is not None else self._methods or {NAG: self.report}

    def __enter__(self) -> Guide:
        # Layers and selector are checked here, before any picture is begun.
        Guidance(self.settings, self.kind.module, strict=True).close()
        module = self.kind.module
        self._compiled = slot = slot_of(module)
        if slot is not None:
            slot.put(self._call if slot.hooks_run else self._call_with_hooks)
        if slot is None or slot.hooks_run:
            self._handle = module.register_forward_pre_hook(self._before_forward, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._finish(tell=error is None)
        if self._compiled is not None:
            self._compiled.restore()
        self._encoded.clear()

    # -- one generation ---

    @ours
    def _call_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """In the place of a compiled call that runs no hooks."""
        self._before_forward(self.kind.module, args, kwargs)
        return self._call(*args, **kwargs)

    @ours
    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """In the place of compiled code."""
        slot, run = self._compiled, self._run
        assert slot is not None
        if run is None or not run.acting or self._on_base:
            return slot.compiled(*args, **kwargs)
        run.warn(NOTE)
        return slot.written(*args, **kwargs)

    def _before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        grid = self.pipe.scheduler.timesteps
        if grid is not self._grid:
            self.kind.begin()
        call = self.kind.read(args, kwargs)
        if not call.again:
            if grid is not self._grid or self._calls >= len(self._times):
                self._start(grid, call.time)
            self._step()
        run = self._run
        if run is None:
            return
        if self._ahead and call.images:
            self._ahead = False
            self._negatives(run, call)
        if self._on_base or not run.acting:
            return
        if run.needs_negative and not run.has_negative:
            self._set_negative(run, call)
        keep_apart(run)
        rows = [(call.first + image, image) for image in range(call.images)]
        run.call(rows, (args, kwargs), total=call.total)

    def _step(self) -> None:
        """The next evaluation of the sampler."""
        run = self._run
        assert run is not None
        if self._handoff is not None:
            self._on_base = self._handoff.step(len(set(self._times[: self._calls + 1])))
        if not self._on_base:  # guidance begins on the model that takes over
            run.step_at(self._times[self._calls], key=self._calls)
        self._calls += 1
        self._set_cfg(run)

    def _start(self, grid: Any, first: float) -> None:
        """A new generation: its steps are the scheduler's, from the first one the pipeline asks for."""
        self._finish()
        self._encoded.clear()
        every = [float(t) for t in grid.tolist()]
        count = getattr(self.pipe, "_num_timesteps", None) or len(every)
        begin = _begin(every, first, count)
        self._grid, self._times, self._calls = grid, every[begin : begin + count], 0
        if self._handoff is not None:
            self._handoff.begin(len(set(self._times)), self.kind.cfg)
        self._run = run = Guidance(self.settings, self.kind.module, strict=self.strict)
        if self.seeds is not None:
            run.set_seeds(self.seeds)
        sigmas = self._sigmas(begin, len(self._times))
        steps = {t: i for i, t in reversed(list(enumerate(self._times)))}  # second-order schedulers repeat a time
        places = sorted(steps.values())
        run.begin([self._times[i] for i in places], None if sigmas is None else [sigmas[i] for i in places])
        if self.settings.empty_negative == "skip" and not any(n.strip() for n in self.negatives):
            run.skip_negative("the negative is empty and empty_negative is 'skip'")
        self._ahead = run.will_need_negative

    def _finish(self, tell: bool = True) -> None:
        run, self._run, self._grid, times, self._times = self._run, None, None, self._times, []
        self._restore_cfg()
        self._on_base = False
        if self._handoff is not None:
            self._handoff.end()
        if run is None:
            return
        tell_mixed(run)
        self._methods = run.close()
        if self._handoff is not None:
            self._methods = {name: r for name, r in self._methods.items() if r.warnings != [ALL_OFF]}
            self._methods[METHOD] = self._handoff.report(len(set(times)))
        self.reports.append(run.report)
        for method, report in self._methods.items() if tell else ():
            for text in report.warnings:
                warnings.warn(f"{method}: {text}", NagWarning, stacklevel=4)

    def _sigmas(self, begin: int, count: int) -> list[float] | None:
        """The scheduler's sigmas of these steps, or from its training noise where it keeps none."""
        sigmas = getattr(self.pipe.scheduler, "sigmas", None)
        every = len(self.pipe.scheduler.timesteps)
        if isinstance(sigmas, Tensor) and every <= len(sigmas) <= every + 1:
            return [float(s) for s in sigmas[begin : begin + count].tolist()]
        kept = getattr(self.pipe.scheduler, "alphas_cumprod", None)
        if kept is None:
            return None
        steps = torch.tensor(self._times).round().long().clamp(0, len(kept) - 1)
        at = kept.cpu().double()[steps]
        return [float(s) for s in ((1 - at) / at).sqrt().tolist()]

    # -- the negative ---

    def _set_negative(self, run: Guidance, call: Call) -> None:
        found = self._negatives(run, call)
        pooled = [p for _, p in found if p is not None]
        run.set_negative([context for context, _ in found], pooled=pooled if len(pooled) == len(found) else None)

    def _negatives(self, run: Guidance, call: Call) -> list[Encoded]:
        """One negative per image, in the encoding of the prompt. Asked for first in the generation's first call, guided
        or not: with model offload the denoiser has not come yet, and the text encoders never lie beside it."""
        if call.images % len(self.negatives):
            texts = f"{len(self.negatives)} texts for {call.images} images"
            raise ValueError(f"negative has {texts}; allowed: one per image")
        each = call.images // len(self.negatives)
        return [self._negative(run, call, image, self.negatives[image // each]) for image in range(call.images)]

    def _negative(self, run: Guidance, call: Call, image: int, text: str) -> Encoded:
        if not text.strip() and self.settings.empty_negative == "host":
            own = self.kind.own_negative(call, image)
            if own is not None:
                return own
            run.warn("empty negative, and at CFG 1 the pipeline has none: guided against the empty prompt")
        if text not in self._encoded:
            self._encoded[text] = self.kind.encode(text, call.text, run.warn)
        return self._encoded[text]

    # -- CFG in the cooldown, and where TPG acts alone ---

    def _set_cfg(self, run: Guidance) -> None:
        """The pipeline reads its CFG scale after the forward."""
        self._restore_cfg()
        cfg = self.kind.cfg
        if cfg is None:
            if run.cfg_factor != 1.0:
                run.warn("this pipeline's CFG scale cannot be lowered: no cooldown")
            return
        wanted = self.settings.handoff_cfg if self._on_base else run.cfg_scale(cfg)
        if wanted != cfg:
            self._restore = self.kind.set_cfg(wanted)

    def _restore_cfg(self) -> None:
        restore, self._restore = self._restore, None
        if restore is not None:
            restore()


def guide(pipe: Any, negative: str | Sequence[str] = "", seeds: Sequence[int] | None = None, **settings: Any) -> Guide:
    """Guide a Stable Diffusion, SDXL, SD3, Flux or Chroma pipeline away from ``negative`` while the block lasts.

    ``negative``: a text, or a list with one per prompt or image. ``settings``: fields of Settings (scale, tau, alpha,
    start, end, ...; tpg_scale, pag_scale, nag=False, ...; handoff_steps=1, handoff_lora="adapter": that LoRA is off in
    the first steps). ``seeds``: one per image, for the permutations of TPG (default: from each image's first noise).
    Works with and without CFG. An exception in the block removes everything too. Raises SettingsError, LayerError, or
    TypeError for a pipeline that is not known. Warnings come as NagWarning.
    """
    text = negative if isinstance(negative, str) else ""
    return Guide(pipe, negative, Settings.parse({"enabled": True, "negative": text, **settings}), seeds)


def _begin(every: Sequence[float], first: float, count: int) -> int:
    """Where in the scheduler's times a generation of ``count`` evaluations begins, at the time ``first``. Second-order
    schedulers have a time twice, and image to image may begin at the second."""
    least = min(abs(t - first) for t in every)
    nearest = [i for i, t in enumerate(every) if abs(t - first) == least]
    return next((i for i in nearest if len(every) - i == count), nearest[0])
