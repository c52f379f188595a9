"""All methods of one generation together, with the calls of a Run: what a host creates.

Methods in attention space are Runs; those with an extra prediction are asked when the denoiser has answered
(predictions/extra.py), where the combined formula (predictions/formula.py) rewrites the conditional rows of its output.
A method that fails is switched off and says so; the others go on.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from types import TracebackType

from torch import Tensor, nn

from .actmap import ActMap
from .branches.text import ProjectContexts
from .compiled import NOTE, AsWritten
from .joint.run import JointRun
from .layers import find_denoiser
from .methods import NAG, parts_of
from .part import Part, Rows, undo
from .predictions.arguments import Arguments
from .predictions.base import Prediction
from .predictions.extra import ExtraPredictions
from .predictions.negative import NegativePrediction
from .predictions.tokens import TokenPerturbation
from .report import Report
from .run import Run
from .settings import Settings
from .taps import remove_leftovers

ALL_OFF = "every method is switched off"
NO_SINGLE_BLOCK = "own image copy: changes nothing here, no single block of Flux or Chroma is guided by NAG"


class Guidance:
    """The methods that ``settings`` switch on, for one generation on ``model`` (a UNet, or a module with one in it).

    ``parts``: one per method. ``strict``: True lets an error of guidance end the model call; False (hosts) switches
    the method off for the rest of the run. Raises LayerError for layers or heads that the model has not.
    """

    def __init__(self, settings: Settings, model: nn.Module, strict: bool = False):
        self.settings, self.model, self.strict = settings, model, strict
        self.leftovers = remove_leftovers(model)
        self.parts: list[Part] = parts_of(settings, model, strict)
        self.warnings: list[str] = [] if self.parts else [ALL_OFF]
        guided = [layer.notation for part in self.parts if part.method == NAG for layer in part.layers]
        if settings.own_image and guided and not any(notation.startswith("s") for notation in guided):
            self.warnings.append(NO_SINGLE_BLOCK)
        self.runs = [part for part in self.parts if isinstance(part, (Run, JointRun))]
        predictions = [part for part in self.parts if isinstance(part, Prediction)]
        denoiser = find_denoiser(model) if predictions else model
        # adaptive strength counts an image's rows, so there each call keeps to its own
        together = settings.together and settings.adaptive == 0
        self.extra = ExtraPredictions(denoiser, predictions, self.runs, self._failed, together)
        self._compiled = AsWritten(model)
        self._reports: dict[str, Report] | None = None

    # -- before sampling ---

    def begin(self, schedule_times: Sequence[float], sigmas: Sequence[float] | None = None) -> list[str]:
        """Resolve every method's window on the sampler's grid; returns warnings to show."""
        told = [(part, part.begin(schedule_times, sigmas)) for part in self.parts]
        return [self._said_by(part, text) for part, texts in told for text in texts]

    def set_seeds(self, seeds: Sequence[int]) -> None:
        """The seed of each image, for what is drawn at random. Without it: from the image's first latent."""
        self.extra.seeds = dict(enumerate(map(int, seeds)))

    def map_into(self, actmap: ActMap | None) -> None:
        """Keep there where the methods in attention space act; the host says what is in each model call."""
        for run in self.runs:
            run.state.map = actmap

    @property
    def needs_negative(self) -> bool:
        """True where a method wants the NAG negative prompt (and has not been skipped)."""
        return any(part.needs_negative and not part.skipped for part in self.parts)

    @property
    def will_need_negative(self) -> bool:
        """True where one of them has a step in its window, too; known after begin()."""
        wanting = [part.resolved for part in self.parts if part.needs_negative and not part.skipped]
        return any(resolved is not None and resolved.guided_steps for resolved in wanting)

    @property
    def has_negative(self) -> bool:
        """True once all that want a negative have one."""
        return all(part.has_negative for part in self.parts if isinstance(part, (Run, JointRun, NegativePrediction)))

    def set_negative(
        self,
        contexts: Tensor | Sequence[Tensor],
        key: Hashable = None,
        pooled: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """See Run.set_negative; for every method that wants it. ``pooled``: (channels,) per image, or one for all;
        Flux takes the negative's own, every other model keeps the prompt's."""
        for part in self.parts:
            if isinstance(part, JointRun) and part.needs_negative:
                part.set_negative(contexts, key, pooled)
            elif isinstance(part, (Run, NegativePrediction)) and part.needs_negative:
                part.set_negative(contexts, key)

    def project_with(self, project: ProjectContexts | None) -> None:
        """See Run.project_with."""
        for run in self.runs:
            if isinstance(run, Run):
                run.project_with(project)

    # -- while sampling ---

    def step_at(self, t: float, key: Hashable = None) -> None:
        """Once per model evaluation of the sampler, at train timestep ``t``. See Part.step."""
        for part in self.parts:
            part.step_at(t, key)
        self._run_as_written()
        self.extra.rows = []
        self.extra.watch()

    @property
    def acting(self) -> bool:
        """True while any method acts in the current step."""
        return any(part.acting for part in self.parts)

    @property
    def cfg_factor(self) -> float:
        """What the host's CFG scale is multiplied by in this step; see cfg_scale()."""
        return min((part.cfg_factor for part in self.parts), default=1.0)

    def cfg_scale(self, cfg: float) -> float:
        """The CFG scale to apply in this step, given the one the host would: lowered in the cooldown, 1 where TPG acts
        alone. Remembered as the w of the formula, so a host calls it at every evaluation, after step_at()."""
        for part in self.parts:
            cfg = part.cfg_scale(cfg)
        alone = self.settings.tpg_mode == "alone"
        if alone and any(isinstance(part, TokenPerturbation) and part.acting for part in self.parts):
            cfg = 1.0
        self.extra.w = cfg
        return cfg

    def call(self, rows: Rows, arguments: Arguments | None = None, total: int | None = None) -> None:
        """Before each forward of the model: the conditional rows of its batch as (row, image) pairs; [] for none.
        ``total``: see Part.call. ``arguments``: of the call, by a host that decides in a pre-hook of the denoiser, too
        late for ours."""
        self.extra.rows = list(rows)
        for part in self.parts:
            part.call(rows, total)
            if arguments is not None:
                part.expects(*arguments)
        if arguments is not None:
            self.extra.expect(*arguments)

    def pause(self) -> None:
        """No hook until the next step, for a host that tells the end of each model call."""
        for part in self.parts:
            part.pause()
        self._compiled.end()
        self.extra.unwatch()

    def warn(self, text: str) -> None:
        """Add a warning to the report; the same one once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def skip(self, reason: str) -> None:
        """Guide nothing in this run, for a reason the report tells."""
        for part in self.parts:
            part.skip(reason)
        self.extra.watch()

    def skip_negative(self, reason: str) -> None:
        """Leave out the methods that need a negative prompt; the others go on."""
        for part in self.parts:
            if part.needs_negative:
                part.skip(reason)
        self.extra.watch()

    def fail(self, error: BaseException) -> None:
        """Switch everything off for the rest of the run and say why in the report."""
        for part in self.parts:
            part.fail(error)
        self.extra.watch()

    @property
    def skipped(self) -> bool:
        """True where no method is left."""
        return all(part.skipped for part in self.parts)

    @property
    def error(self) -> BaseException | None:
        """The first error of any method."""
        return next((part.state.error for part in self.parts if part.state.error is not None), None)

    # -- after sampling ---

    def close(self) -> dict[str, Report]:
        """Remove everything; method -> its report. Any number of times, at any moment."""
        if self._reports is None:
            error = undo([self._compiled.end, self.extra.unwatch, *(part.close for part in self.parts)])
            for text in self.extra.warnings():
                self.warn(text)
            if self.leftovers:
                self.warn(f"{self.leftovers} hooks of an earlier run were still there and have been removed")
            self._reports = self._reports_of()
            if error is not None:
                self.report.error = self.report.error or f"{type(error).__name__}: {error}"
        return self._reports

    @property
    def reports(self) -> dict[str, Report]:
        """Method -> the account so far; final after close(). The first one carries what concerns all."""
        return self._reports or self._reports_of()

    @property
    def report(self) -> Report:
        """The first method's: NAG's where it is on."""
        return next(iter(self.reports.values()))

    def __enter__(self) -> Guidance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reports_of(self) -> dict[str, Report]:
        result = {part.method: part.report for part in self.parts} or {NAG: Report()}
        first = next(iter(result.values()))
        first.warnings = first.warnings + [w for w in self.warnings if w not in first.warnings]
        return result

    def _run_as_written(self) -> None:
        if self._compiled.found and self.acting:
            self._compiled.begin()
            self.warn(NOTE)
        else:
            self._compiled.end()

    def _said_by(self, part: Part, text: str) -> str:
        return text if part.method == NAG else f"{part.method}: {text}"

    def _failed(self, part: Part, error: Exception) -> None:
        if self.strict:
            raise error
        part.fail(error)
