"""The extra predictions of a generation: asked when the denoiser has answered, and put into its answer.

Hooks on the denoiser exist only in the steps that need them. A method that fails is switched off and says so; the
others go on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..part import Part, Rows, raise_first, undo
from ..taps import marked
from .arguments import Arguments, latent_of, output_with, snapshot
from .base import Perturbation, Prediction
from .call import Limits, ModelCall
from .formula import combined
from .negative import NegativePrediction
from .together import Together

CUT = "the model's inputs could not be cut: extra predictions ran on the whole batch"
APART = "the extra predictions could not be made in the host's own call, so they were made apart"


class ExtraPredictions:
    """``parts``: the methods; ``others``: those that act inside every prediction. ``w``: CFG scale in force.
    ``failed``: told of a method's error. ``together``: in the host's own call where possible."""

    def __init__(
        self,
        denoiser: nn.Module,
        parts: Sequence[Prediction],
        others: Sequence[Part],
        failed: Callable[[Part, Exception], None],
        together: bool = False,
    ):
        self.denoiser, self.parts, self.others, self.failed = denoiser, list(parts), others, failed
        self.w = 1.0
        self.seeds: dict[int, int] = {}
        self.rows: Rows = []
        self.limits = Limits()
        self.together = Together(denoiser, others) if together and self.parts else None
        self._arguments: Arguments | None = None
        self._handles: list[RemovableHandle] = []

    @property
    def acting(self) -> list[Prediction]:
        """The methods that ask in the current step."""
        return [part for part in self.parts if part.acting]

    def watch(self) -> None:
        """Hooks into the denoiser, or out of it, as the step needs."""
        if not self.acting:
            self.unwatch()
        elif not self._handles:
            self._handles = [
                self.denoiser.register_forward_pre_hook(self._before_forward, with_kwargs=True),
                self.denoiser.register_forward_hook(self._after_forward, prepend=True, with_kwargs=True),
            ]
            if self.together is not None:
                self.together.install()

    def unwatch(self) -> None:
        """No hooks."""
        handles, self._handles = self._handles, []
        self._arguments, self.rows = None, []
        away = [handle.remove for handle in handles]
        raise_first(undo(away if self.together is None else [*away, self.together.remove]))

    def expect(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The denoiser is about to be called with these."""
        self._arguments = snapshot(args, kwargs) if self.rows and self.acting else None
        if self._arguments is not None:
            self._know_images(self._arguments)
            if self.together is not None:
                self.together.expect(self.rows, self.acting, self.seeds.__getitem__)

    def warnings(self) -> list[str]:
        """What was learnt about the model."""
        why = self.together.why if self.together is not None else ""
        return [CUT] * self.limits.whole + ([f"{APART} ({why})"] if why else [])

    @marked
    def _before_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        if kwargs is not None:  # torch gives none to a hook that an earlier hook of this very call has removed
            self.expect(args, kwargs)

    @marked
    def _after_forward(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
        output = rest[-1]
        arguments, self._arguments = self._arguments, None
        acting = self.acting
        if arguments is None or not self.rows or not acting:
            return None
        answers = self.together.answers if self.together is not None else {}
        try:
            call = ModelCall(
                module, arguments, output, self.rows, self.others, self.seeds.__getitem__, self.limits, answers
            )
            if self.w <= 0:
                raise ValueError(f"CFG scale {self.w:g}: the conditional prediction does not count")
        except Exception as error:
            for part in acting:
                self.failed(part, error)
            return None
        edited = self._edited(call, acting)
        if edited is None:
            return None
        new = call.output.clone()
        new[call.index] = edited
        return output_with(output, new)

    def _edited(self, call: ModelCall, acting: Sequence[Prediction]) -> Tensor | None:
        """c' of the formula, or None where every method has failed."""
        n: Tensor | None = None
        pushes: list[Tensor] = []
        for part in acting:
            try:
                if isinstance(part, NegativePrediction):
                    n = part.guided(call)
                elif isinstance(part, Perturbation):
                    pushes.append(part.term(call, self.w))
            except Exception as error:
                self.failed(part, error)
        return combined(call.conditional, n, pushes) if pushes or n is not None else None

    def _know_images(self, arguments: Arguments) -> None:
        """A seed for every image that has none: a fingerprint of its latent as first seen."""
        for row, image in self.rows:
            if image not in self.seeds:
                latent = latent_of(arguments)[row].detach().float().cpu().contiguous()
                self.seeds[image] = zlib.crc32(latent.numpy().tobytes())
