"""The ways to take a step that are measured against each other."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from extras.nag import taps
from extras.nag.branches.padding import filling
from extras.nag.guidance import Guidance
from extras.nag.layers import find_layers
from extras.nag.run import Run
from extras.nag.settings import Settings
from extras.nag.taps import count_taps

from . import plain_unet
from .plain_flux import flux_nag
from .shapes import Subject

TIMES = (999.0, 749.0, 499.0, 249.0)
NUMBERS = {"unet": (3.0, 2.5, 0.5), "flux": (5.0, 2.5, 0.25)}  # published: s, tau, alpha
CFG = 7.0

BASE, OFF, OUTSIDE, FILLED, ALONE, NAG, FUSED, DUPLICATE, SHARED, NAG_PAG, PAG_FUSED, TPG, CFG_STEP = (
    "without",
    "off",
    "outside",
    "prompt filled up",
    "attention alone",
    "NAG",
    "NAG fused",
    "duplicate",
    "shared query",
    "NAG-PAG",
    "NAG-PAG fused",
    "TPG",
    "CFG",
)
COMPILED = (FUSED, PAG_FUSED)
ALWAYS = (BASE, OFF, OUTSIDE, NAG, DUPLICATE)
"""What every measurement compares."""
WHAT = {
    BASE: "the model alone",
    OFF: "installed; a guided generation has been closed before",
    OUTSIDE: "a generation in progress, this step is outside its window",
    FILLED: "not guided; only the prompt's tokens are filled up to a number that a CPU likes, as in our guided steps",
    ALONE: "the attention over the negative as we do it, its result thrown away: no rule costs less",
    NAG: "a guided step, ours",
    FUSED: "the same, option *Fused kernel*: the rule compiled by torch.compile (operators are not counted)",
    DUPLICATE: "NAG written plainly: the layer's batch is duplicated (Flux: both streams, as published)",
    SHARED: "NAG written plainly, queries computed once and repeated, as in the authors' code",
    NAG_PAG: "a step guided by NAG-PAG",
    PAG_FUSED: "the same with the fused kernel",
    TPG: "a step guided by TPG alone: a second prediction",
    CFG_STEP: "classifier-free guidance: a batch of two",
}


class Arm:
    """One way. ``step`` is timed; ``ready`` and ``rest``, before and after each, are not. ``kind``: of the layers it
    acts in, where it does nothing elsewhere."""

    kind = "cross"

    def __init__(self, name: str, subject: Subject):
        self.name, self.subject = name, subject

    def ready(self) -> None:
        """Make the model ready."""

    def step(self) -> Tensor:
        """The prediction of a step."""
        return self.subject.forward()

    def rest(self) -> None:
        """Leave the model as the others want it."""

    def close(self) -> None:
        """For good."""


class Guided(Arm):
    """A generation of ours that never ends. ``t``: the train timestep of all its steps."""

    def __init__(self, name: str, subject: Subject, settings: Settings, t: float = 749.0):
        super().__init__(name, subject)
        self.t = t
        self.rows = [(i, i) for i in range(subject.batch)]
        self.guidance = Guidance(settings, subject.model, strict=True)
        self.kind = next((run.branch.kind for run in self.guidance.runs if isinstance(run, Run)), "")
        self.guidance.begin(TIMES)
        self.guidance.set_seeds(range(subject.batch))
        if self.guidance.needs_negative:
            self.guidance.set_negative(subject.negative, pooled=subject.negative_pooled)

    def step(self) -> Tensor:
        guidance = self.guidance
        guidance.step_at(self.t)
        guidance.cfg_scale(1.0)
        if guidance.acting:
            guidance.call(self.rows)
        return self.subject.forward()

    def rest(self) -> None:
        for part in self.guidance.parts:
            part.step(0.0)
        self.guidance.extra.watch()

    def close(self) -> None:
        self.guidance.close()


class AttentionAlone(Guided):
    """What every rule needs, and nothing more."""

    def step(self) -> Tensor:
        own = taps.normalized_guidance
        taps.normalized_guidance = lambda z_pos, *args, **more: z_pos  # type: ignore[assignment]
        try:
            return super().step()
        finally:
            taps.normalized_guidance = own


class Filled(Arm):
    """What a guided step of ours does to the layer's own attention."""

    def __init__(self, name: str, subject: Subject):
        super().__init__(name, subject)
        self._keys = [layer.attn.to_k for layer in find_layers(subject.model) if layer.kind == self.kind]
        self._handles: list[RemovableHandle] = []

    def ready(self) -> None:
        self._handles = [to_k.register_forward_hook(lambda *seen: filling(seen[2])) for to_k in self._keys]

    def rest(self) -> None:
        for handle in self._handles:
            handle.remove()


class Off(Arm):
    """Nothing of ours acts, after something has."""

    def __init__(self, name: str, subject: Subject):
        super().__init__(name, subject)
        earlier = nag(subject)
        earlier.step()
        earlier.close()


class Plain(Arm):
    """NAG without us, on a UNet."""

    def __init__(self, name: str, subject: Subject, processor: type[plain_unet.DuplicateBatch]):
        super().__init__(name, subject)
        self._processor = processor(subject.negative, NUMBERS["unet"])
        self._own: Any = subject.model
        self._kept = dict(self._own.attn_processors)
        self._mine = {n: self._processor if ".attn2." in n else p for n, p in self._kept.items()}

    def ready(self) -> None:
        self._own.set_attn_processor(dict(self._mine))

    def rest(self) -> None:
        self._own.set_attn_processor(dict(self._kept))


class PlainFlux(Arm):
    """NAG without us, on Flux."""

    def step(self) -> Tensor:
        subject = self.subject
        assert subject.negative_pooled is not None
        about = (subject.negative, subject.negative_pooled, NUMBERS["flux"])
        return flux_nag(subject.model, subject.inputs, *about)


class ClassifierFree(Arm):
    """Both halves in one batch, and the sum."""

    kind = ""

    def __init__(self, name: str, subject: Subject):
        super().__init__(name, subject)
        self._inputs = subject.with_uncond()

    def step(self) -> Tensor:
        uncond, cond = self.subject.forward(self._inputs).chunk(2)
        return uncond + CFG * (cond - uncond)


def settings(subject: Subject, **values: Any) -> Settings:
    """NAG as published for this family."""
    scale, tau, alpha = NUMBERS[subject.shape.kind]
    return Settings(enabled=True, negative="x", scale=scale, tau=tau, alpha=alpha, **values)


def nag(subject: Subject, **values: Any) -> Guided:
    """The guided arm, with other settings if need be."""
    return Guided(NAG, subject, settings(subject, **values))


def arms(subject: Subject, chosen: Collection[str] | None = None) -> dict[str, Arm]:
    """All that the model can do, by name; the model alone comes first. ``chosen``: only these, and ALWAYS."""
    unet = subject.shape.kind == "unet"
    makers: dict[str, Callable[[], Arm]] = {
        BASE: lambda: Arm(BASE, subject),
        OFF: lambda: Off(OFF, subject),
        OUTSIDE: lambda: Guided(OUTSIDE, subject, settings(subject, end=0.1)),
        NAG: lambda: nag(subject),
        FUSED: lambda: Guided(FUSED, subject, settings(subject, fused=True)),
    }
    if unet:
        if subject.device.type == "cpu":
            makers[FILLED] = lambda: Filled(FILLED, subject)
        makers[ALONE] = lambda: AttentionAlone(ALONE, subject, settings(subject))
        makers[DUPLICATE] = lambda: Plain(DUPLICATE, subject, plain_unet.DuplicateBatch)
        makers[SHARED] = lambda: Plain(SHARED, subject, plain_unet.SharedQuery)
    else:
        makers[DUPLICATE] = lambda: PlainFlux(DUPLICATE, subject)
    pag: dict[str, Any] = {"enabled": True, "nag": False, "nag_pag_scale": 3.0}
    makers[NAG_PAG] = lambda: Guided(NAG_PAG, subject, Settings(**pag))
    makers[PAG_FUSED] = lambda: Guided(PAG_FUSED, subject, Settings(**pag, fused=True))
    if unet:
        tpg = Settings(enabled=True, tpg_scale=3.0, tpg_mode="alone", nag=False)
        makers[TPG] = lambda: Guided(TPG, subject, tpg)
        makers[CFG_STEP] = lambda: ClassifierFree(CFG_STEP, subject)
    return {name: make() for name, make in makers.items() if chosen is None or name in (*chosen, *ALWAYS)}


def clean(subject: Subject) -> bool:
    """True while no hook of ours is in the model."""
    return count_taps(subject.model) == 0
