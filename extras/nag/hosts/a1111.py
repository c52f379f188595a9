"""A1111 (and the Studio): one generation, driven by the host's callbacks.

Which module denoises: ``p.sd_model.model``, asked again at every evaluation (refiner, hires checkpoint). The
negative: a1111_negative. The rows: a1111_rows, read by a pre-hook on that module. The time: a1111_grid,
resolved from the arguments of the sampling function itself. CFG of a step: the denoiser's multiplier, for one
evaluation.

The host swallows what a script raises and goes on unguided, and runs no ``postprocess`` when its own model
raises. So every entry here catches our errors and says so in the report, and everything is undone when the
sampling function is left, in ``postprocess``, at ``p.close``, and at the start of any later generation.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..report import Report, combine
from ..run import Run
from ..settings import Settings
from .a1111_grid import Grid, grid_of_call
from .a1111_negative import NegativeEncoder, is_blank, prepare_text
from .a1111_rows import RowCounter

_ATTRIBUTE = "nag_time_session"
_OURS = "nag_time_close"
_open: list[Session] = []
F = TypeVar("F", bound=Callable[..., None])


def start(p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Session], None]) -> Session:
    """Begin guidance of the job ``p``; ``on_end`` is called once, when it is over by whatever way."""
    session = Session(p, settings, negatives, on_end)
    setattr(p, _ATTRIBUTE, session)
    _open.append(session)
    _watch_close(p, session)
    return session


def session_of(p: Any) -> Session | None:
    """The session of a job, or None where guidance is off."""
    return getattr(p, _ATTRIBUTE, None)


def end_all(p: Any = None) -> None:
    """Undo whatever an earlier job has left, and forget that of ``p`` (X/Y/Z copies a job with its
    session)."""
    for session in list(_open):
        session.end()
    if p is not None and session_of(p) is not None:
        setattr(p, _ATTRIBUTE, None)


def on_cfg_denoiser(params: Any) -> None:
    """The host's callback before each evaluation of the sampler."""
    session = session_of(getattr(params.denoiser, "p", None))
    if session is not None:
        session.evaluate(params)


def on_cfg_after_cfg(params: Any) -> None:
    """The host's callback after CFG."""
    for session in _open:
        session.restore_cfg()


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


class Session:
    """Guidance of one job: its passes, batch by batch.

    ``reports``: pass name ("", "hires") -> reports of the finished runs. ``warnings``, ``error``: of the job.
    """

    def __init__(
        self, p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Session], None]
    ):
        self.p, self.settings, self.negatives = p, settings, list(negatives)
        self.on_end: Callable[[Session], None] | None = on_end
        self.reports: dict[str, list[Report]] = {}
        self.warnings: list[str] = []
        self.error: BaseException | None = None
        self._run: Run | None = None
        self._grid: Grid | None = None
        self._model: tuple[Any, ...] = ()
        self._rows = RowCounter()
        self._encoder = NegativeEncoder()
        self._encoded = 0  # counts encodings: names a set of contexts
        self._texts: list[str] = []
        self._handle: Any = None
        self._cfg: tuple[Any, float] | None = None  # (denoiser, its own multiplier) while ours is in place
        self._wrapped: tuple[Any, Any] | None = None  # (sampler, its own function)
        self._active = False  # between the start and the end of a guided pass

    # -- before a pass ---

    @_caught
    def before_sampling(self) -> None:
        """Encode the negatives and wait for the sampling function. Before every pass."""
        self._end_pass()
        p, hires = self.p, bool(getattr(self.p, "is_hr_pass", False))
        if self.settings.hires == ("first" if hires else "second"):
            return
        texts = self._texts_of_batch(hires)
        if texts is None:
            self._warn("the NAG negative is empty and 'Empty negative' is set to skip: nothing is guided")
            return
        self._texts = texts
        self._load(p.sd_model)
        self._active = True
        sampler = p.sampler
        function = sampler.func
        self._wrapped = (sampler, function)

        @functools.wraps(function)  # hosts ask for its signature
        def sample(*args: Any, **kwargs: Any) -> Any:
            self._begin_pass(sampler, kwargs)
            try:
                return function(*args, **kwargs)
            finally:
                self._end_pass()

        sampler.func = sample

    def _texts_of_batch(self, hires: bool) -> list[str] | None:
        """One text per image of the batch (or one for all); None where there is nothing to guide away
        from."""
        p, size = self.p, len(self.p.prompts)
        texts = self.negatives
        if len(texts) > 1:
            texts = texts[p.iteration * p.batch_size :][:size]
        if all(map(is_blank, texts)):
            if self.settings.empty_negative == "skip":
                return None
            if self.settings.empty_negative == "host":
                return list(p.hr_negative_prompts if hires else p.negative_prompts)
        return [prepare_text(p, text, self.warnings) for text in texts]

    def _load(self, sd_model: Any) -> None:
        """A run on this model, with the negatives in its own encoding."""
        run = Run(self.settings, sd_model.model)
        run.branch.project_contexts = _hypernetworks()
        self._encoder.encode(self.p, self._texts)
        self._run, self._model = run, _identity(sd_model)
        self._encoded += 1

    @_caught
    def _begin_pass(self, sampler: Any, arguments: Mapping[str, Any]) -> None:
        """The sampler is about to walk its grid."""
        self._grid = grid_of_call(sampler, arguments, self.p.steps)
        if self._run is not None:
            self._run.begin(self._grid.times, self._grid.sigmas)

    # -- while sampling ---

    @_caught
    def evaluate(self, params: Any) -> None:
        """Before each evaluation: decide strength and CFG, open or close the hooks, count rows anew."""
        denoiser = params.denoiser
        self.restore_cfg()
        if not self._active or self._grid is None:
            return
        if _identity(self.p.sd_model) != self._model:
            self._change_model()
        run = self._run
        assert run is not None
        t = self._grid.time_of(denoiser.inner_model, float(params.sigma.reshape(-1)[0]))
        run.step_at(t, key=denoiser.step)
        conds_list = _conds_list(denoiser)
        if run.state.strength > 0:
            contexts = self._encoder.contexts(denoiser.step)
            run.set_negative(contexts, None if self._encoder.scheduled else self._encoded)
            self._rows.begin(conds_list)
            self._watch_rows(self.p.sd_model.model)
        else:
            self._unwatch_rows()
        self._set_cfg(run, denoiser)
        if self.settings.skip_uncond:
            self._skip_uncond(params, conds_list)

    def _change_model(self) -> None:
        """Refiner or another checkpoint in mid-run: what we know of the old model is void."""
        assert self._grid is not None
        self._unwatch_rows()
        self._close_run()
        self._load(self.p.sd_model)
        assert self._run is not None
        self._run.begin(self._grid.times, self._grid.sigmas)

    def _watch_rows(self, module: Any) -> None:
        if self._handle is None:
            self._handle = module.register_forward_pre_hook(self._before_forward, with_kwargs=True)

    def _unwatch_rows(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._call(args[0] if args else kwargs["x"])

    @_caught
    def _call(self, x: Any) -> None:
        if self._run is not None:
            self._run.call(self._rows.take(x.shape[0]))

    def _set_cfg(self, run: Run, denoiser: Any) -> None:
        """In the cooldown: the denoiser multiplies the CFG scale, read after the model call, until after
        CFG."""
        cfg = float(denoiser.sampler.sampler_extra_args.get("cond_scale", self.p.cfg_scale))
        wanted = run.cfg_scale(cfg)
        if wanted == cfg:
            return
        own = getattr(denoiser, "cond_scale_miltiplier", None)  # the host's spelling
        if own is None:
            self._warn("this host has no way to lower the CFG of a step: no cooldown")
            return
        self._cfg = (denoiser, own)
        denoiser.cond_scale_miltiplier = own * wanted / cfg

    def restore_cfg(self) -> None:
        """Give the denoiser its own multiplier back."""
        if self._cfg is not None:
            denoiser, own = self._cfg
            denoiser.cond_scale_miltiplier, self._cfg = own, None

    def _skip_uncond(self, params: Any, conds_list: Sequence[Sequence[tuple[int, float]]]) -> None:
        """At CFG 1 the unconditional half changes nothing: take its rows out of the call.

        Without them the host's own formula, uncond + (cond - uncond), has cond in both places.
        """
        from modules import prompt_parser, shared

        denoiser, arguments = params.denoiser, params.denoiser.sampler.sampler_extra_args
        rows = len(conds_list)
        reason = ""
        if float(arguments.get("cond_scale", 0)) != 1.0:
            reason = "CFG is not 1"
        elif any(len(parts) != 1 or parts[0][1] != 1.0 for parts in conds_list):
            reason = "AND needs the unconditional half"
        elif denoiser.need_last_noise_uncond or params.x.shape[0] != 2 * rows:
            reason = "this sampler or model needs the unconditional half"
        elif shared.opts.skip_early_cond or arguments.get("s_min_uncond"):
            reason = "a setting of the host skips it already"
        if reason:
            self._warn(f"'{_label('skip_uncond')}' has no effect: {reason}")
            return
        params.x, params.sigma, params.image_cond = (
            params.x[:rows],
            params.sigma[:rows],
            params.image_cond[:rows],
        )
        cond = params.text_cond
        if isinstance(cond, dict):
            params.text_uncond = prompt_parser.DictWithShape(
                {k: v[:0] for k, v in cond.items()}, cond["crossattn"][:0].shape
            )
        else:
            params.text_uncond = cond[:0]

    # -- the end ---

    def fail(self, error: BaseException) -> None:
        """Switch guidance off for the rest of the job; the report says why."""
        self.error = self.error or error
        print(f"[NAG Time] guidance is off for this run: {type(error).__name__}: {error}", file=sys.stderr)
        if not isinstance(error, ValueError):  # those are said in full: what was given, what is allowed
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        self._end_pass()

    def _end_pass(self) -> None:
        """Nothing of ours is left in the model, the denoiser or the sampler."""
        self.restore_cfg()
        self._unwatch_rows()
        if self._wrapped is not None:
            sampler, function = self._wrapped
            sampler.func, self._wrapped = function, None
        self._close_run()
        self._active, self._grid = False, None

    def _close_run(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        run.warnings += [w for w in self.warnings if w not in run.warnings]
        name = "hires" if getattr(self.p, "is_hr_pass", False) else ""
        report = run.close()
        if run.state.error is not None and self.error is None:
            self.error = run.state.error
        self.reports.setdefault(name, []).append(report)

    def end(self) -> None:
        """The job is over, or never will be. Any number of times."""
        self._end_pass()
        if self in _open:
            _open.remove(self)
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            on_end(self)

    def passes(self) -> dict[str, Report]:
        """Pass name -> report of all its runs so far; at least one entry, which holds the job's error."""
        result = {name: combine(reports) for name, reports in self.reports.items()} or {"": Report()}
        first = next(iter(result.values()))
        first.warnings += [w for w in self.warnings if w not in first.warnings]
        if self.error is not None:
            first.error = first.error or f"{type(self.error).__name__}: {self.error}"
        return result

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _identity(sd_model: Any) -> tuple[Any, ...]:
    """Changes when another model object denoises, or other weights in the same object."""
    info = getattr(sd_model, "sd_checkpoint_info", None)
    return id(sd_model.model), getattr(info, "filename", None), getattr(sd_model, "sd_model_hash", None)


def _conds_list(denoiser: Any) -> Sequence[Sequence[tuple[int, float]]]:
    """For each image its (row, weight) pairs, as the host is going to stack them."""
    from modules import prompt_parser

    cond = denoiser.sampler.sampler_extra_args["cond"]
    return prompt_parser.reconstruct_multicond_batch(cond, denoiser.step)[0]


def _hypernetworks() -> Callable[[Any, Any], tuple[Any, Any]] | None:
    """What the host does to a context before the layer's keys and values, where hypernetworks are in use."""
    from modules import shared

    loaded = getattr(shared, "loaded_hypernetworks", None)
    if not loaded:
        return None
    from modules.hypernetworks import hypernetwork

    return lambda attn, context: hypernetwork.apply_hypernetworks(loaded, context, attn)


def _label(name: str) -> str:
    from ..fields import FIELDS

    return FIELDS[name].label


def _watch_close(p: Any, session: Session) -> None:
    """End the session when the host closes the job: the one thing it does after every kind of failure."""
    if getattr(p.__dict__.get("close"), _OURS, False):
        del p.__dict__["close"]  # copied along with another job
    close = p.close

    def close_and_end() -> None:
        session.end()
        if p.__dict__.get("close") is close_and_end:
            del p.__dict__["close"]
        close()

    setattr(close_and_end, _OURS, True)
    p.close = close_and_end
