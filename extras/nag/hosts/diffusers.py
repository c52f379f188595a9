"""diffusers pipelines: ``with guide(pipe, negative="glasses", scale=3) as run: image = pipe("a
nerd").images[0]``.

Everything the core needs is read at the UNet's own forward: which rows are conditional (the pipeline stacks
[unconditional, conditional]), and where in the scheduler's grid the call stands.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ..guidance import Guidance
from ..methods import NAG
from ..report import Report
from ..settings import Settings

_GROUPS_UNKNOWN = ("InstructPix2Pix",)  # their batches are stacked in another way


class NagWarning(UserWarning):
    """Guidance has something to tell: an empty window, an empty negative, layers out of reach."""


class Guide:
    """What guide() gives: guidance of every generation of ``pipe`` inside the ``with`` block.

    ``report``: the account of the latest generation, ``reports`` of all: NAG's, or that of the first method where NAG
    is off. ``methods``: the latest generation's, method -> report. ``settings``: the record in force.
    """

    def __init__(
        self, pipe: Any, negative: str | Sequence[str], settings: Settings, seeds: Sequence[int] | None = None
    ):
        unet = getattr(pipe, "unet", None)
        if unet is None or not hasattr(pipe, "encode_prompt") or not hasattr(pipe, "scheduler"):
            raise TypeError(f"pipe is {type(pipe).__name__}; allowed: a StableDiffusion or StableDiffusionXL pipeline")
        if any(name in type(pipe).__name__ for name in _GROUPS_UNKNOWN):
            raise TypeError(f"pipe is {type(pipe).__name__}; allowed: text to image, image to image, inpainting")
        self.pipe, self.settings = pipe, settings
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
        self._cfg: float | None = None  # the pipeline's own CFG scale while ours is in its place
        self._handle: Any = None
        self._encoded: dict[tuple[str, Any], Tensor] = {}

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
        Guidance(self.settings, self.pipe.unet, strict=True).close()
        self._handle = self.pipe.unet.register_forward_pre_hook(self._before_forward, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._finish(tell=error is None)
        self._encoded.clear()

    # -- one generation ---

    def _before_forward(self, unet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sample, timestep, prompt = (
            kwargs[name] if name in kwargs else args[i]
            for i, name in enumerate(("sample", "timestep", "encoder_hidden_states"))
        )
        grid = self.pipe.scheduler.timesteps
        if grid is not self._grid or self._calls >= len(self._times):
            self._start(grid, timestep)
        run = self._run
        assert run is not None
        run.step_at(self._times[self._calls], key=self._calls)
        self._calls += 1
        self._set_cfg(run)
        guided, size = self._conditional(sample.shape[0])
        if run.acting:
            if run.needs_negative and not run.has_negative:
                run.set_negative(self._negatives(run, size, prompt))
            run.call([(guided + image, image) for image in range(size)], (args, kwargs))

    def _start(self, grid: Any, timestep: Any) -> None:
        """A new generation: its steps are the scheduler's, from the first one the pipeline asks for."""
        self._finish()
        self._encoded.clear()
        every = [float(t) for t in grid.tolist()]
        first = float(timestep if not isinstance(timestep, Tensor) else timestep.reshape(-1)[0])
        begin = min(range(len(every)), key=lambda i: abs(every[i] - first))
        count = getattr(self.pipe, "_num_timesteps", None) or len(every)
        self._grid, self._times, self._calls = grid, every[begin : begin + count], 0
        self._run = run = Guidance(self.settings, self.pipe.unet, strict=True)
        if self.seeds is not None:
            run.set_seeds(self.seeds)
        sigmas = self._sigmas(begin, len(self._times))
        steps = {t: i for i, t in reversed(list(enumerate(self._times)))}  # second-order schedulers repeat a time
        places = sorted(steps.values())
        run.begin([self._times[i] for i in places], None if sigmas is None else [sigmas[i] for i in places])
        if self.settings.empty_negative == "skip" and not any(n.strip() for n in self.negatives):
            run.skip_negative("the negative is empty and empty_negative is 'skip'")

    def _finish(self, tell: bool = True) -> None:
        run, self._run, self._grid, self._times = self._run, None, None, []
        self._restore_cfg()
        if run is None:
            return
        self._methods = run.close()
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

    def _conditional(self, batch: int) -> tuple[int, int]:
        """(first conditional row, number of images) of a forward with so many rows."""
        free = bool(self.pipe.do_classifier_free_guidance)
        parts = 1 + free + bool(getattr(self.pipe, "do_perturbed_attention_guidance", False))
        if batch % parts:
            raise ValueError(f"the pipeline sent {batch} rows; expected {parts} equal parts")
        return (batch // parts if free else 0), batch // parts

    # -- the negative ---

    def _negatives(self, run: Guidance, images: int, prompt: Tensor) -> list[Tensor]:
        """One context (tokens, channels) per image."""
        if images % len(self.negatives):
            raise ValueError(f"negative has {len(self.negatives)} texts for {images} images; allowed: one per image")
        each = images // len(self.negatives)
        result = []
        for image in range(images):
            text = self.negatives[image // each]
            if not text.strip() and self.settings.empty_negative == "host":
                if self.pipe.do_classifier_free_guidance:
                    result.append(prompt[image])  # the pipeline's own negative prompt
                    continue
                run.warn("empty negative, and at CFG 1 the pipeline has none: guided against the empty prompt")
            result.append(self._encode(run, text))
        return result

    def _encode(self, run: Guidance, text: str) -> Tensor:
        """(tokens, channels), by the pipeline's own encoders; a long text in pieces of 77 tokens, none cut
        off."""
        key = (text, getattr(self.pipe, "clip_skip", None))
        if key not in self._encoded:
            extra = {} if key[1] is None else {"clip_skip": key[1]}
            pieces = []
            for piece in self._pieces(run, text):
                result = self.pipe.encode_prompt(
                    piece,
                    device=self.pipe._execution_device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=False,
                    **extra,
                )
                pieces.append(result[0][0])
            self._encoded[key] = torch.cat(pieces)
        return self._encoded[key]

    def _pieces(self, run: Guidance, text: str) -> list[str]:
        """The text cut between words so that each piece fits the tokenizers."""
        tokenizers = [t for t in (getattr(self.pipe, n, None) for n in ("tokenizer", "tokenizer_2")) if t is not None]

        def fits(part: str) -> bool:
            return all(len(t(part).input_ids) <= t.model_max_length for t in tokenizers)

        if fits(text):
            return [text]
        pieces, rest = [], text.split()
        while rest:
            low, high = 1, len(rest)
            while low < high:  # the most words that fit
                middle = (low + high + 1) // 2
                low, high = (middle, high) if fits(" ".join(rest[:middle])) else (low, middle - 1)
            if low == 1 and not fits(rest[0]):
                run.warn(f"a word of the negative is longer than the text encoder takes, cut: {rest[0][:40]!r}")
            pieces.append(" ".join(rest[:low]))
            rest = rest[low:]
        return pieces

    # -- CFG in the cooldown, and where TPG acts alone ---

    def _set_cfg(self, run: Guidance) -> None:
        """The pipeline reads its CFG scale after the forward. At exactly 1 it would stop splitting the
        batch."""
        self._restore_cfg()
        free = bool(self.pipe.do_classifier_free_guidance)
        cfg = float(self.pipe.guidance_scale) if free else 1.0
        wanted = run.cfg_scale(cfg)
        if wanted != cfg:
            self._cfg = self.pipe._guidance_scale
            self.pipe._guidance_scale = max(1.0 + 1e-6, wanted)

    def _restore_cfg(self) -> None:
        if self._cfg is not None:
            self.pipe._guidance_scale, self._cfg = self._cfg, None


def guide(pipe: Any, negative: str | Sequence[str] = "", seeds: Sequence[int] | None = None, **settings: Any) -> Guide:
    """Guide a StableDiffusion or SDXL pipeline away from ``negative`` while the ``with`` block lasts.

    ``negative``: a text, or a list with one per prompt or image. ``settings``: fields of Settings (scale,
    tau, alpha, start, end, ...; tpg_scale, pag_scale, nag=False, ...). ``seeds``: one per image, for the permutations
    of TPG (default: from each image's first noise). Works with and without CFG. An exception in the block removes
    everything too. Raises SettingsError, LayerError, or TypeError for a pipeline without a UNet. Warnings come as
    NagWarning.
    """
    text = negative if isinstance(negative, str) else ""
    return Guide(pipe, negative, Settings.parse({"enabled": True, "negative": text, **settings}), seeds)
