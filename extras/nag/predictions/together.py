"""Extra predictions in the host's own call: their rows are added to its batch and taken out of its answer.

Faster where a call's cost is launching it (small pictures on a strong device), at the price of memory; off unless
asked for. It needs the model's ``forward`` for itself while a step lasts: only there can a batch that turns out too
large be asked anew without the additions, unseen by the host. The same predictions result, up to what the size of a
batch does to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..kept import rows_of
from ..part import Part, Rows
from ..taps import marked, unwrap
from .arguments import (
    TEXT_MASKS,
    Arguments,
    batch_of,
    output_with,
    snapshot,
    tensor_of,
    text_of,
    walked,
    with_text,
)
from .base import Perturbation, Prediction
from .negative import NegativePrediction

_CAUGHT = (RuntimeError, ValueError, TypeError, IndexError)  # of tensors that do not fit, and memory


class Together:
    """``answers``: of the call in progress, by part. ``why``: what made it give up for the rest of the run, or ""."""

    def __init__(self, module: nn.Module, others: Sequence[Part]):
        self.module: Any = module
        self.others = others
        self.answers: dict[Part, Tensor] = {}
        self.why = ""
        self._expected: tuple[Rows, list[Prediction], Callable[[int], int]] | None = None
        self._mine: Any = None

    def install(self) -> None:
        """Put the wrapper in place; once is enough."""
        if self._mine is None and not self.why:
            own = self.module.forward

            @marked
            @functools.wraps(own)
            def forward(*args: Any, **kwargs: Any) -> Any:
                return self._forward(own, args, kwargs)

            self._mine = self.module.forward = forward

    def remove(self) -> None:
        """Take it away; where somebody has wrapped it meanwhile, it stays and does nothing."""
        mine, self._mine = self._mine, None
        self._expected = None
        if mine is not None and vars(self.module).get("forward") is mine:
            unwrap(self.module)

    def expect(self, rows: Rows, acting: Sequence[Prediction], seed_of: Callable[[int], int]) -> None:
        """The model is about to be called."""
        self.answers = {}
        self._expected = (list(rows), list(acting), seed_of)

    def _forward(self, own: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        expected, self._expected = self._expected, None
        if expected is None or self.why:
            return own(*args, **kwargs)
        kept = snapshot(args, kwargs)
        try:
            return self._asked(own, snapshot(*kept), *expected)
        except _CAUGHT as error:
            self.answers = {}
            self.why = f"{type(error).__name__}: {str(error)[:120]}"
        return own(*kept[0], **kept[1])

    def _asked(
        self,
        own: Callable[..., Any],
        arguments: Arguments,
        rows: Rows,
        acting: Sequence[Prediction],
        seed_of: Callable[[int], int],
    ) -> Any:
        batch, numbers = batch_of(arguments), [row for row, _ in rows]
        text = text_of(arguments, own)
        masked = any(isinstance(arguments[1].get(mask), Tensor) for mask in TEXT_MASKS)
        asking = [
            part
            for part in acting
            if not isinstance(part, NegativePrediction) or (part.fits(rows, text) and not masked)
        ]
        if not asking:
            return own(*arguments[0], **arguments[1])
        extended = extend(arguments, numbers * len(asking), batch)
        added = {
            part: [(batch + k * len(rows) + i, image) for i, (_, image) in enumerate(rows)]
            for k, part in enumerate(asking)
        }
        with ExitStack() as stack:
            for part, own_rows in added.items():
                if isinstance(part, Perturbation):
                    stack.enter_context(part.perturbed(own_rows, batch + len(rows) * len(asking), seed_of))
                elif isinstance(part, NegativePrediction):
                    whole = text_of(extended, own).clone()
                    whole[[row for row, _ in own_rows]] = part.texts(rows).to(whole)
                    extended = with_text(extended, whole, own)
            everyone = [*rows, *(pair for own_rows in added.values() for pair in own_rows)]
            for other in self.others:
                stack.enter_context(other.rerouted(everyone, counting=True))
                other.expects(*extended)
            output = own(*extended[0], **extended[1])
        answer = tensor_of(output)
        if answer.shape[0] != batch + len(rows) * len(asking):
            raise ValueError(f"the model answered {answer.shape[0]} rows to {batch + len(rows) * len(asking)}")
        self.answers = {part: rows_of(answer, [row for row, _ in own_rows]) for part, own_rows in added.items()}
        return output_with(output, answer[:batch])


def extend(arguments: Arguments, rows: Sequence[int], batch: int) -> Arguments:
    """The same call with some rows once more at the end of its batch."""

    def more(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch:
            return torch.cat([value, rows_of(value, rows)])
        return value

    args, kwargs = walked(arguments, more)
    options = kwargs.get("transformer_options")
    parts = options.get("cond_or_uncond") if isinstance(options, dict) else None
    if isinstance(options, dict) and isinstance(parts, list) and parts:
        size = batch // len(parts)
        if batch % len(parts) or len(rows) % size:
            raise ValueError("the rows are no whole parts of the batch")
        options["cond_or_uncond"] = parts + [0] * (len(rows) // size)
        if "cond_indices" in options:
            options["cond_indices"] = [*options["cond_indices"], *range(batch, batch + len(rows))]
    return args, kwargs
