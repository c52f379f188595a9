"""SD.Next: a WebUI with A1111's scripts and diffusers' pipelines. One session per job; in it one Guide per pass.

Its ``set_pipeline_args`` makes the arguments of every pass, prompts encoded, just before the pipeline is called. While
a batch is drawn it is ours, so each pass (base, hires, refiner) is guided in the pipeline that draws it, and the
negative is encoded by the host's own parser. The detailer works after the batch and is left alone. An error in the
pipeline is caught by the host, which then calls no ``postprocess``: its callback after the job does for every end.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from torch import Tensor

from ...field import SettingsError
from ...fields import FIELDS
from ...guidance import Guidance
from ...layers import Layer, LayerError, find_layers
from ...report import Report
from ...settings import Settings
from ..diffusers import Guide
from ..diffusers_pipes import Call, Encoded, UNetPipe, Warn, pipe_of
from .account import JobSession, adopt, end_all, session_of
from .closing import attempt
from .grid import Grid, even_grid
from .negative import is_blank, prepare_text

_PASSES = {"is_hr_pass": "hires", "is_refiner_pass": "refiner"}
NOT_SEEN = "this SD.Next has drawn without making its pipeline's arguments where we know it to: nothing was guided"


class PassGuide(Guide):
    """Guidance of one call of a pipeline. Our errors are the session's; the picture goes on."""

    strict = False

    def __init__(self, session: Session, name: str, pipe: Any, negatives: Sequence[str], seeds: Sequence[int]):
        super().__init__(pipe, negatives, session.settings, seeds)
        self.session, self.name, self.by_host = session, name, dict[str, Encoded]()

    def _before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.session.error is None:
            try:
                super()._before_forward(module, args, kwargs)
            except Exception as error:
                self.session.fail(error)

    def _negative(self, run: Guidance, call: Call, image: int, text: str) -> Encoded:
        own = self.settings.empty_negative == "host" and is_blank(text)
        return self.by_host[text] if text in self.by_host and not own else super()._negative(run, call, image, text)

    def _finish(self, tell: bool = True) -> None:
        run = self._run
        super()._finish(tell=False)
        if run is not None:
            self.session.passed(self.name, self._methods)


class Session(JobSession):
    """Guidance of one job by its pipelines."""

    map = None
    said_in_full = (ValueError, TypeError)

    def __init__(self, p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Session], None]):
        super().__init__(p, settings, negatives, on_end)
        self._guide: PassGuide | None = None
        self._own: tuple[Any, Any] | None = None  # (the host's module, its own function) while ours is in its place
        self._begun = self._left_out = False
        for name in ("map", "skip_uncond"):
            if getattr(settings, name):
                self._warn(f"'{FIELDS[name].label}' has no effect in SD.Next")

    def begin_batch(self) -> None:
        """The host is about to draw a batch."""
        self.end_batch()
        if self.error is not None:
            return
        from modules import processing_diffusers as host

        own = host.set_pipeline_args

        @functools.wraps(own)
        def set_pipeline_args(*args: Any, **kwargs: Any) -> Any:
            result = own(*args, **kwargs)
            self._begin_pass(lambda: inspect.signature(own).bind(*args, **kwargs).arguments)
            return result

        self._own, host.set_pipeline_args = (host, own), set_pipeline_args

    def end_batch(self) -> None:
        """The host has drawn it. Any number of times; never raises."""
        put_back, self._own = self._own, None
        if put_back is not None:
            host, host.set_pipeline_args = put_back[0], put_back[1]
        self._end_pass()

    def _begin_pass(self, read: Callable[[], Mapping[str, Any]]) -> None:
        self._end_pass()
        if self.error is not None:
            return
        self._begun = True
        try:
            given = read()
            p = given["p"]  # another than the job's where the host goes on with an earlier picture
            name = next((name for flag, name in _PASSES.items() if getattr(p, flag, False)), "")
            if (self.settings.hires, name) in (("first", "hires"), ("second", "")):
                self._left_out = True
                return
            model = given["model"]
            pipe = model.pipe if hasattr(model, "pipe") and not hasattr(model, "no_recurse") else model
            texts = self._texts(len(p.prompts))
            guide = PassGuide(self, name, pipe, texts, p.seeds)
            if isinstance(guide.kind, UNetPipe):
                guide.by_host = encode(p, texts, given, self._warn)
            guide.__enter__()
            self._guide = guide
        except Exception as error:
            self.fail(error)

    def _texts(self, size: int) -> list[str]:
        """One text per image of the batch, or one for all."""
        texts = self.negatives
        if len(texts) > 1:
            texts = texts[self.p.iteration * self.p.batch_size :][:size]
        if all(map(is_blank, texts)) and self.settings.empty_negative != "guide":
            return [""]
        return [prepare_text(self.p, text, self.warnings) for text in texts]

    def _end_pass(self) -> None:
        guide, self._guide = self._guide, None
        if guide is not None:
            error = attempt(lambda: guide.__exit__(None, None, None))
            self.error = self.error or (f"{type(error).__name__}: {error}" if error else None)

    def passed(self, name: str, methods: Mapping[str, Report]) -> None:
        """One pass is over."""
        self._count(name, methods)
        self._all_failed(methods)

    def before_sampling(self) -> None:
        """SD.Next has no such callback."""

    def _undo(self) -> None:
        self.end_batch()

    def _nothing_ran(self) -> None:
        if _stopped():
            return
        if self._left_out:
            self._warn(f"no pass was guided: '{FIELDS['hires'].label}' is set to '{self.settings.hires}'")
        elif not self._begun:
            self.error = NOT_SEEN


def encode(p: Any, texts: Sequence[str], given: Mapping[str, Any], warn: Warn) -> dict[str, Encoded]:
    """Text -> (tokens, channels), as the host encodes a negative prompt beside the prompts of the pass; nothing where
    it leaves that to the pipeline. ``given``: the arguments of set_pipeline_args."""
    from modules import prompt_parser_diffusers, shared

    more = given.get("kwargs") or {}
    parser = given.get("prompt_attention") or getattr(p, "prompt_attention", None) or shared.opts.prompt_attention
    if parser == "fixed":
        return {}
    prompts, steps = given["prompts"], more.get("num_inference_steps") or p.steps
    prompt = prompts if isinstance(prompts, str) else prompts[0]
    found: dict[str, Encoded] = {}
    for text in dict.fromkeys(texts):
        if prompt_parser_diffusers.get_prompt_schedule(text, steps)[1]:
            warn("a schedule in the NAG negative counts with its first part in SD.Next")
        embedder = prompt_parser_diffusers.PromptEmbedder(
            [prompt], [text], steps, more.get("clip_skip", 1), p,
            prompt_attention=parser,
            **{name: getattr(p, name, None) for name in ("prompt_mean_norm", "diffusers_zeros_prompt_pad")},
        )  # fmt: skip
        context = embedder("negative_prompt_embeds")
        if isinstance(context, Tensor):
            found[text] = context[0], None
    return found


# -- what the front door asks of a host ---


def start(p: Any, settings: Settings, negatives: Sequence[str], on_end: Callable[[Session], None]) -> Session:
    """Begin guidance of the job ``p``; ``on_end`` is called once, when it is over by whatever way."""
    return adopt(p, Session(p, settings, negatives, on_end))


def prepare_handoff(p: Any, settings: Settings) -> None:
    """SettingsError: the pipelines here have one model."""
    if settings.handoff_steps:
        raise SettingsError("handoff_steps", settings.handoff_steps, "0 in SD.Next")


def begin_batch(p: Any) -> None:
    """See Session."""
    session = session_of(p)
    if session is not None:
        session.begin_batch()


def end_batch(p: Any) -> None:
    """See Session."""
    session = session_of(p)
    if session is not None:
        session.end_batch()


def wire(callbacks: Any) -> None:
    """The host tells here that a job is over, whatever has happened in it. ``callbacks``: its module of them."""
    callbacks.on_after_process(lambda p: end_all())


def names_in_use(p: Any) -> list[str]:
    """File names without ending of the LoRAs, then the checkpoint, of a job."""
    loras = (getattr(p, "network_data", None) or {}).get("lora", ())
    names = [str(entry.items[0]) for entry in loras if getattr(entry, "items", None)]
    checkpoint = getattr(getattr(loaded_model(), "sd_checkpoint_info", None), "name", None)
    return names + ([PurePath(checkpoint).stem] if checkpoint else [])


# -- what the panel asks ---


def loaded_model() -> Any:
    """The pipeline in memory, or None; never loads one."""
    from modules import modeldata

    return modeldata.model_data.sd_model


def loaded_layers() -> Sequence[Layer]:
    """The attention layers of the model in memory; LayerError where there is none, or none that is known."""
    pipe = loaded_model()
    if pipe is None:
        raise LayerError("no model is loaded yet; making a picture loads it")
    try:
        return find_layers(pipe_of(pipe).module)
    except TypeError as error:
        raise LayerError(str(error)) from None


def preview_grid(sampler_name: str, scheduler: str | None, steps: int, denoise: float | None = None) -> Grid:
    """The pipeline's scheduler makes the real one when it is called; this stands for it."""
    return even_grid(steps)


count_tokens = None
"""The host counts the tokens of its own boxes alone."""


def _stopped() -> bool:
    from modules import shared

    return bool(shared.state.interrupted or shared.state.skipped)
