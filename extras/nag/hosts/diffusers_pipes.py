"""What differs between diffusers pipelines: the module that denoises, its arguments, rows, text and CFG scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ALLOWED = (
    "a Stable Diffusion, SDXL, Flux, Chroma or Stable Diffusion 3 pipeline, for text or image to image, or inpainting"
)
_OTHERWISE = "its batches, tokens or blocks are made in another way"
_FRAMES = "its model makes rows of its own of the frames"
_TIMES = "it sets its scheduler's times anew in every step"
# part of a class's name -> why it is refused
_REFUSED = {
    "InstructPix2Pix": _OTHERWISE,
    "Control": _OTHERWISE,
    "Panorama": _TIMES,
    **dict.fromkeys(("AnimateDiff", "PIAPipeline", "TextToVideo", "VideoToVideo", "I2VGenXL"), _FRAMES),
}
_CONTROL_NET = "ControlNet"
_DOUBLED = "do_classifier_free_guidance"
Warn = Callable[[str], None]
# (tokens, channels), and beside it (channels,) of the pooled encoder; in Chroma the mask (tokens,)
Encoded = tuple[Tensor, "Tensor | None"]


@dataclass(frozen=True)
class Call:
    """One forward. ``timestep``: as it was given, ``per_step``: times of the scheduler for one of it; ``text``: its
    prompts. ``first``: the first conditional row; ``images``: how many; 0 in a call for the unconditional half alone.
    ``total``: rows of the batch. ``again``: of the same evaluation as the call before."""

    timestep: Any
    text: Tensor
    first: int
    images: int
    total: int
    again: bool = False
    per_step: float = 1.0

    @property
    def time(self) -> float:
        """Of the scheduler. Reading it waits for the device: once a generation is enough."""
        return self.per_step * _first(self.timestep)


class _Scale(float):
    """A CFG scale of ours: one that somebody else sets is another object, whatever its value."""


class Pipe:
    """``module``: whose forward is one model call."""

    module: Any

    def __init__(self, pipe: Any):
        self.pipe = pipe
        self._prompt: Tensor | None = None

    def begin(self) -> None:
        """A new generation."""

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The arguments of a forward."""
        raise NotImplementedError

    @property
    def cfg(self) -> float | None:
        """The CFG scale in force (1 without CFG); None where the pipeline does not tell."""
        return float(self.pipe.guidance_scale) if self.pipe.do_classifier_free_guidance else 1.0

    def set_cfg(self, value: float) -> Callable[[], None]:
        """Put a CFG scale in force until what this returns is called."""
        own, ours = self.pipe._guidance_scale, _Scale(max(1.0 + 1e-6, value))  # at 1 it would not split its batch
        self.pipe._guidance_scale = ours

        def restore() -> None:
            # else another was set meanwhile, by a callback or a new generation; be it the same number
            if self.pipe._guidance_scale is ours:
                self.pipe._guidance_scale = own

        return restore

    def encode(self, text: str, like: Tensor, warn: Warn) -> Encoded:
        """A negative, by the pipeline's own encoders. ``like``: the prompt's (rows, tokens, channels)."""
        raise NotImplementedError

    def own_negative(self, call: Call, image: int) -> Encoded | None:
        """The pipeline's own negative prompt, None where it has none in this call."""
        return (call.text[image], None) if call.first else None

    def _rows(self, batch: int) -> tuple[int, int]:
        """(first conditional row, images) of a batch stacked as [unconditional, conditional (, perturbed)]."""
        free = bool(self.pipe.do_classifier_free_guidance)
        parts = 1 + free + bool(getattr(self.pipe, "do_perturbed_attention_guidance", False))
        if batch % parts:
            raise ValueError(f"the pipeline sent {batch} rows; expected {parts} equal parts")
        return (batch // parts if free else 0), batch // parts


class UNetPipe(Pipe):
    """Stable Diffusion 1, 2, XL."""

    def __init__(self, pipe: Any):
        super().__init__(pipe)
        self.module = pipe.unet

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        named = {**dict(zip(("sample", "timestep", "encoder_hidden_states"), args, strict=False)), **kwargs}
        batch = named["sample"].shape[0]
        return Call(named["timestep"], named["encoder_hidden_states"], *self._rows(batch), batch)

    def encode(self, text: str, like: Tensor, warn: Warn) -> Encoded:
        """A long text in pieces of 77 tokens, none cut off."""
        skip = getattr(self.pipe, "clip_skip", None)
        extra = {} if skip is None else {"clip_skip": skip}
        common = {"device": self.pipe._execution_device, "num_images_per_prompt": 1}
        pieces = [
            self.pipe.encode_prompt(piece, do_classifier_free_guidance=False, **common, **extra)[0][0]
            for piece in self._pieces(text, warn)
        ]
        return torch.cat(pieces), None

    def _pieces(self, text: str, warn: Warn) -> list[str]:
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
                warn(f"a word of the negative is longer than the text encoder takes, cut: {rest[0][:40]!r}")
            pieces.append(" ".join(rest[:low]))
            rest = rest[low:]
        return pieces


class TransformerPipe(Pipe):
    """What Flux and Stable Diffusion 3 share: arguments by name, a T5 encoder of fixed length."""

    def __init__(self, pipe: Any):
        super().__init__(pipe)
        self.module = pipe.transformer

    def _encoded(
        self, text: str, like: Tensor, before: int, tokenizer: Any, texts: int, warn: Warn, **more: Any
    ) -> tuple[Any, ...]:
        """What encode_prompt gives. ``before``: tokens of other encoders before T5's; ``texts``: how many prompts it
        takes."""
        length = max(1, like.shape[1] - before)
        if tokenizer is not None and len(tokenizer(text).input_ids) > length:
            warn(f"the negative is longer than {length} tokens; the rest is cut off")
        common = {"device": self.pipe._execution_device, "num_images_per_prompt": 1, "max_sequence_length": length}
        result: tuple[Any, ...] = self.pipe.encode_prompt(*[text] * texts, **common, **more)
        return result


class FluxPipe(TransformerPipe):
    """Flux.1: no CFG inside a call; a true CFG asks for the unconditional half in calls of its own."""

    def begin(self) -> None:
        self._prompt = None

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        text = kwargs["encoder_hidden_states"]
        if self._prompt is None:
            self._prompt = text  # a step begins with the prompt's call, always with this tensor
        own, batch = text is self._prompt, kwargs["hidden_states"].shape[0]
        images = text.shape[0] if own else 0
        return Call(kwargs["timestep"], text, 0, images, batch, again=not own, per_step=1000.0)

    @property
    def cfg(self) -> float | None:
        return None

    def encode(self, text: str, like: Tensor, warn: Warn) -> Encoded:
        embeds, pooled, _ = self._encoded(text, like, 0, getattr(self.pipe, "tokenizer_2", None), 2, warn)
        return embeds[0], pooled[0]


class ChromaPipe(FluxPipe):
    """Chroma: CFG as in Flux, one encoder, whose padding is masked."""

    def encode(self, text: str, like: Tensor, warn: Warn) -> Encoded:
        alone = {"do_classifier_free_guidance": False}
        embeds, _, mask, *_ = self._encoded(text, like, 0, getattr(self.pipe, "tokenizer", None), 1, warn, **alone)
        return embeds[0], mask[0]


class SD3Pipe(TransformerPipe):
    """Stable Diffusion 3 and 3.5: rows as in a UNet's pipeline; 77 tokens of the CLIP encoders before T5's."""

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        batch, text = kwargs["hidden_states"].shape[0], kwargs["encoder_hidden_states"]
        again = bool(kwargs.get("skip_layers"))  # skip-layer guidance asks for the conditional rows once more
        first, images = (0, batch) if again else self._rows(batch)
        return Call(kwargs["timestep"], text, first, images, batch, again)

    def encode(self, text: str, like: Tensor, warn: Warn) -> Encoded:
        before = getattr(self.pipe, "tokenizer_max_length", 77)
        tokenizer = getattr(self.pipe, "tokenizer_3", None)
        alone = {"do_classifier_free_guidance": False}  # else an empty prompt is encoded beside it
        embeds, _, pooled, _ = self._encoded(text, like, before, tokenizer, 3, warn, **alone)
        return embeds[0], pooled[0]


def pipe_of(pipe: Any) -> Pipe:
    """TypeError for a pipeline that is not known, or known to work in another way."""
    name = type(pipe).__name__
    for part, why in _REFUSED.items():
        if part in name.replace(_CONTROL_NET, ""):
            raise TypeError(f"pipe is {name}: {why}; allowed: {ALLOWED}")
    if hasattr(pipe, "encode_prompt") and hasattr(pipe, "scheduler"):
        if getattr(pipe, "unet", None) is not None:
            if not hasattr(type(pipe), _DOUBLED):  # asked of the class: before its first call a pipeline cannot tell
                raise TypeError(f"pipe is {name}: it does not tell whether its batch is doubled; allowed: {ALLOWED}")
            return UNetPipe(pipe)
        if getattr(pipe, "transformer", None) is not None:
            for family, kind in (("Flux", FluxPipe), ("Chroma", ChromaPipe), ("StableDiffusion3", SD3Pipe)):
                if name.startswith(family):
                    return kind(pipe)
    raise TypeError(f"pipe is {name}; allowed: {ALLOWED}")


def _first(value: Any) -> float:
    return float(value.reshape(-1)[0]) if isinstance(value, Tensor) else float(value)
