"""One generation of a WebUI, driven by the host's callbacks: passes, batches, evaluations.

The host swallows what a script raises and goes on unguided, and runs no ``postprocess`` when its own model raises. So
every entry here catches our errors and says so in the report, and everything is undone when the sampling function is
left, in ``postprocess``, at ``p.close``, and at the start of any later generation.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ...actmap import ActMap
from ...errors import trace_of
from ...guidance import ALL_OFF, Guidance
from ...report import Report
from ...settings import FIELDS, Settings
from ...taps import remove_leftovers
from .account import JobSession
from .closing import attempt
from .families import Family, family_of
from .grid import Grid, grid_of_call
from .handoff import METHOD, handoff_of, set_cfg
from .negative import NegativeEncoder, is_blank, prepare_text
from .others import Others

F = TypeVar("F", bound=Callable[..., None])


def _caught(method: F) -> F:
    """Our error switches guidance off for the rest of the job; the picture goes on."""

    @functools.wraps(method)
    def guarded(self: Session, *args: Any, **kwargs: Any) -> None:
        if self.error is None:
            try:
                method(self, *args, **kwargs)
            except Exception as error:
                self.fail(error)

    return guarded  # type: ignore[return-value]


class Session(JobSession):
    """Guidance of one job by its sampling functions."""

    def __init__(self, p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Session], None]):
        super().__init__(p, settings, negatives, on_end)
        self.map = ActMap() if settings.map else None
        self._family: Family | None = None
        self._run: Guidance | None = None
        self._grid: Grid | None = None  # of the pass in progress
        self._identity: Any = None  # of the network the run is on
        self._encoder = NegativeEncoder()
        self._encoded = 0  # counts encodings
        self._negative: tuple[Any, ...] | None = None  # names the contexts that the run has
        self._others = Others()
        self._handoff = handoff_of(p)
        self._handle: Any = None
        self._wrapped: tuple[Any, Any] | None = None  # (sampler, its own function)

    # -- a pass ---

    @_caught
    def before_sampling(self) -> None:
        """Encode the negatives and wait for the sampling function. Before every pass, or twice before one."""
        self._end_pass()
        if self.settings.hires == ("first" if self._hires else "second"):
            return
        if self._handoff is not None:
            self._handoff.begin_pass(self.p)
        if self._handoff is None or not self._handoff.on_base(self.p.sd_model):
            self._load(self.p.sd_model)
        else:  # guidance begins on the model that takes over
            self._family, self._identity = self._family or family_of(self.p.sd_model), None
            set_cfg(self.p, on_base=True)
        sampler = self.p.sampler
        function = sampler.func
        self._wrapped = (sampler, function)

        @functools.wraps(function)  # hosts ask for its signature
        def sample(*args: Any, **kwargs: Any) -> Any:
            self._begin_pass(sampler, kwargs)
            try:
                return function(*args, **kwargs)
            finally:
                try:
                    self._end_pass()
                except Exception as error:  # cannot be, as everything in it is caught; nothing must stay behind
                    self.fail(error)

        sampler.func = sample

    @property
    def _hires(self) -> bool:
        return bool(getattr(self.p, "is_hr_pass", False))

    def _load(self, sd_model: Any) -> None:
        """A run on this model, with the negatives in its own encoding."""
        family = self._family = self._family or family_of(sd_model)
        run = Guidance(self.settings, family.network(sd_model))
        run.project_with(family.project_contexts())
        run.set_seeds(self.p.seeds)
        run.map_into(self.map)
        if run.needs_negative:
            texts = self._texts_of_batch()
            if texts is None:
                run.skip_negative("the NAG negative is empty and 'Empty negative' is set to skip")
            else:
                self._encoder.encode(self.p, texts)
                self._encoded += 1
        self._run, self._identity, self._negative, self._others = run, family.identity(sd_model), None, Others()

    def _texts_of_batch(self) -> list[str] | None:
        """One text per image of the batch (or one for all); None where there is nothing to guide away from."""
        p, size = self.p, len(self.p.prompts)
        texts = self.negatives
        if len(texts) > 1:
            texts = texts[p.iteration * p.batch_size :][:size]
        if all(map(is_blank, texts)):
            if self.settings.empty_negative == "skip":
                return None
            if self.settings.empty_negative == "host":
                return list(p.hr_negative_prompts if self._hires else p.negative_prompts)
        return [prepare_text(p, text, self.warnings) for text in texts]

    @_caught
    def _begin_pass(self, sampler: Any, arguments: Mapping[str, Any]) -> None:
        """The sampler is about to walk its grid."""
        self._grid = grid_of_call(sampler, arguments, self.p.steps)
        if not self._grid.times:
            self._close_run(told=False)
            self._warn("the sampler takes no step in a pass: its strength is too low for its number of steps")
        elif self._run is not None:
            self._run.begin(self._grid.times, self._grid.sigmas)

    def _end_pass(self) -> None:
        """Nothing of ours is left in the model, the denoiser or the sampler. Never raises."""
        told = self._grid is not None
        self._grid = None
        undo = (self.restore_cfg, self._unwatch_calls, self._unwrap, lambda: set_cfg(self.p, on_base=False))
        switch_back = [] if self._handoff is None else [self._handoff.end_pass]
        error = attempt(*undo, *switch_back, lambda: self._close_run(told))
        if error is not None:
            self.error = self.error or f"{type(error).__name__}: {error}"

    def _unwrap(self) -> None:
        if self._wrapped is not None:
            (sampler, function), self._wrapped = self._wrapped, None
            sampler.func = function

    # -- an evaluation of the sampler: one or several model calls ---

    @_caught
    def evaluate(self, params: Any) -> None:
        """Decide strength and CFG, open or close the hooks, expect model calls."""
        self.restore_cfg()
        if self._grid is None or self._family is None:
            return
        denoiser, family = params.denoiser, self._family
        if self._handoff is not None:
            self._handoff.begin_step(denoiser)
            on_base = self._handoff.on_base(self.p.sd_model)
            self._handoff.seen.append((denoiser.step + 1, on_base))
            if on_base:
                return
        elif self._run is None:
            return
        if family.identity(self.p.sd_model) != self._identity:
            self._change_model(params.x)
        run = self._run
        assert run is not None
        if self.map is not None:
            self.map.whole = _size(params.x)
        run.step_at(self._grid.time_of(denoiser, float(params.sigma.reshape(-1)[0])), key=denoiser.step)
        if run.acting:
            self._expect_calls(run, family, params)
        else:
            self._unwatch_calls()
        if run.acting or run.cfg_factor != 1.0 or self._handoff is not None:
            family.set_cfg(params, self._cfg_scale)
        if self.settings.skip_uncond:
            reason = family.skip_uncond(params)
            if reason:
                self._warn(f"'{FIELDS['skip_uncond'].label}' has no effect: {reason}")

    def _expect_calls(self, run: Guidance, family: Family, params: Any) -> None:
        """The model calls of this evaluation are to be guided."""
        if run.needs_negative:
            step = params.denoiser.step
            key = (self._encoded, family.adapters(self.p.sd_model), self._encoder.place(step))
            if key != self._negative:
                run.set_negative(self._encoder.contexts(step), key, self._encoder.pooled(step))
                self._negative = key
        family.begin_rows(params)
        if self._handle is None:
            network = family.network(self.p.sd_model)
            # before the hooks that the guidance may have there
            self._handle = network.register_forward_pre_hook(self._before_forward, prepend=True, with_kwargs=True)

    def _cfg_scale(self, scale: float) -> float:
        """The CFG scale of this evaluation. The host calls this, so it never raises."""
        try:
            own = scale if self._handoff is None else self._handoff.cfgs[1]
            return own if self._run is None else self._run.cfg_scale(own)
        except Exception as error:
            self.fail(error)
            return scale

    def restore_cfg(self) -> None:
        """Give the host its own CFG scale back."""
        if self._family is not None:
            self._family.restore_cfg()

    def _change_model(self, x: Any) -> None:
        """Refiner or another checkpoint in mid-run: what we know of the old model is void."""
        assert self._grid is not None and self._family is not None
        self._unwatch_calls()
        self._close_run()
        self._load(self.p.sd_model)
        assert self._run is not None
        self._family.make_ready(self.p.sd_model, x)
        self._run.begin(self._grid.times, self._grid.sigmas)

    def _unwatch_calls(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.remove()
        if self._family is not None:
            self._family.end_rows()

    def _before_forward(self, network: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._call(args, kwargs)

    @_caught
    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._run is None or self._family is None:
            return
        self._others.watch(self._run, kwargs)
        count = int((args[0] if args else kwargs["x"]).shape[0])
        try:
            rows = self._family.rows(count, kwargs)
        except ValueError as error:  # of another extension's making
            self._warn(f"{error}; left unguided")
            rows = []
        if self.map is not None:
            self.map.expect(rows, _size(args[0] if args else kwargs["x"]))
        self._run.call(rows, total=count)

    # -- the end ---

    def _close_run(self, told: bool = True) -> None:
        """``told``: False for a run that no sampling function has used."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            reports = run.close()
        except Exception:  # the last way out: whatever it has left in the model
            remove_leftovers(run.model)
            raise
        if any(report.error for report in reports.values()):
            remove_leftovers(run.model)  # removing may be what has failed
        if run.error is not None and not isinstance(run.error, ValueError):
            print(trace_of(run.error), end="", file=sys.stderr)
        for text in itertools.chain(*self._others.told(run).values()):
            self._warn(text)
        self._all_failed(reports)
        if told:
            self._count("hires" if self._hires else "", reports)

    def _undo(self) -> None:
        self._end_pass()

    def _results(self) -> dict[str, Report]:
        result = super()._results()
        if self._handoff is not None:
            result = {name: report for name, report in result.items() if report.warnings != [ALL_OFF]}
            result[METHOD] = self._handoff.report(self.p.steps)
        return result

    def _nothing_ran(self) -> None:
        if self.settings.hires != "both":
            self._warn(f"no pass was guided: '{FIELDS['hires'].label}' is set to '{self.settings.hires}'")


def _size(latent: Any) -> tuple[int, int]:
    """Height and width."""
    return int(latent.shape[-2]), int(latent.shape[-1])
