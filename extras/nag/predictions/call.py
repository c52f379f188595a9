"""One forward of the denoiser, and asking it again for the conditional rows alone.

The model's ``forward`` is called directly: hooks on the model itself (a host counts rows there) do not see it, whatever
has replaced ``forward`` (ControlNet, offloading) does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import out_of_memory
from ..kept import as_index, rows_of
from ..part import Part, Rows
from .arguments import Arguments, batch_of, take_rows, tensor_of, with_text

Around = Callable[[Rows, int], AbstractContextManager[Any]]


class Limits:
    """What has been learnt about asking a model again, for the rest of a run. ``whole``: its inputs cannot be cut, so
    the whole batch runs; ``one_by_one``: memory is short."""

    def __init__(self) -> None:
        self.whole = self.one_by_one = False


class ModelCall:
    """``rows``: the conditional (row, image) pairs. ``others``: methods that act inside every prediction. ``seed_of``:
    image -> the seed of its picture. ``answers``: predictions that came with the host's own call, by part."""

    def __init__(
        self,
        module: nn.Module,
        arguments: Arguments,
        output: Any,
        rows: Rows,
        others: Sequence[Part],
        seed_of: Callable[[int], int],
        limits: Limits,
        answers: Mapping[Part, Tensor] | None = None,
    ):
        self.module: Any = module
        self.arguments, self.rows, self.others = arguments, list(rows), others
        self.seed_of, self.limits, self.answers = seed_of, limits, dict(answers or {})
        self.batch = batch_of(arguments)
        self.output = tensor_of(output)
        beyond = [row for row, _ in self.rows if not 0 <= row < min(self.batch, self.output.shape[0])]
        if beyond:
            raise ValueError(f"row {beyond[0]} is not in the call's batch of {self.batch}")
        self.index = as_index([row for row, _ in self.rows], self.output.device)

    @property
    def conditional(self) -> Tensor:
        """The conditional rows of the model's answer."""
        return self.output[self.index]

    def ask(self, picked: Sequence[int], around: Around, text: Tensor | None = None) -> Tensor:
        """The model's answer for ``rows[i]``, i in ``picked``, under ``around``, which is told the rows of the batch
        that will run, and how many it has. ``text``: another text for them, (rows, tokens, channels)."""
        picked = list(picked)
        if self.limits.one_by_one and len(picked) > 1:
            return self._singly(picked, around, text)
        try:
            if not self.limits.whole:
                try:
                    return self._cut(picked, around, text)
                except (RuntimeError, ValueError, IndexError, TypeError) as error:
                    if out_of_memory(error) or len(picked) == self.batch:
                        raise
                    answer = self._whole(picked, around, text)
                    self.limits.whole = True  # only where that has helped
                    return answer
            return self._whole(picked, around, text)
        except RuntimeError as error:
            if not out_of_memory(error) or len(picked) == 1 or self.limits.whole:
                raise
            self.limits.one_by_one = True
        return self._singly(picked, around, text)

    def _singly(self, picked: list[int], around: Around, text: Tensor | None) -> Tensor:
        answers = [self.ask([i], around, None if text is None else text[k : k + 1]) for k, i in enumerate(picked)]
        return torch.cat(answers)

    def _cut(self, picked: list[int], around: Around, text: Tensor | None) -> Tensor:
        numbers = [self.rows[i][0] for i in picked]
        arguments = take_rows(self.arguments, numbers, self.batch)
        answer = self._forward(arguments, [(k, self.rows[i][1]) for k, i in enumerate(picked)], around, text)
        if answer.shape != (len(picked), *self.output.shape[1:]):
            raise ValueError(f"the model answered {tuple(answer.shape)} to {len(picked)} rows")
        return answer

    def _whole(self, picked: list[int], around: Around, text: Tensor | None) -> Tensor:
        numbers = [self.rows[i][0] for i in picked]
        if text is not None:
            everywhere = text[:1].expand(self.batch, *text.shape[1:]).clone()
            everywhere[numbers] = text
            text = everywhere
        arguments = take_rows(self.arguments, range(self.batch), self.batch)
        answer = self._forward(arguments, [self.rows[i] for i in picked], around, text)
        return rows_of(answer, numbers)

    def _forward(self, arguments: Arguments, rows: Rows, around: Around, text: Tensor | None) -> Tensor:
        if text is not None:
            arguments = with_text(arguments, text, self.module.forward)
        with ExitStack() as stack:
            stack.enter_context(around(rows, batch_of(arguments)))
            for part in self.others:
                stack.enter_context(part.rerouted(rows))
                part.expects(*arguments)
            return tensor_of(self.module.forward(*arguments[0], **arguments[1]))
