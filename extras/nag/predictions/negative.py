"""NAG in prediction space: a third prediction from the NAG negative, and the normalised rule on whole predictions.

Needs no hook inside the model, so it works on any. The rule in attention space is the better method.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from ..branches.text import TextBranch
from ..kept import as_index
from ..part import Rows
from ..schedule import Schedule
from .base import Prediction
from .call import ModelCall
from .formula import normalized_prediction


class NegativePrediction(Prediction):
    """``scale``: s of normalized_guidance, 1 = off. Pooled embeddings stay those of the prompt."""

    def __init__(self, method: str, schedule: Schedule, scale: float, tau: float, alpha: float, strict: bool):
        super().__init__(method, schedule, [], scale, strict)
        self.tau, self.alpha = tau, alpha
        self._texts = TextBranch()

    @property
    def needs_negative(self) -> bool:
        return True

    @property
    def has_negative(self) -> bool:
        """True once there is a negative."""
        return self._texts.ready

    def set_negative(self, contexts: Tensor | Sequence[Tensor], key: Hashable = None) -> None:
        """See Run.set_negative."""
        self._texts.set_contexts(contexts, key)

    def guided(self, call: ModelCall) -> Tensor:
        """n of the formula, for the call's conditional rows; negatives of one length are asked together."""
        t = call.conditional
        q = call.answers.get(self)
        if q is None:
            q = self._asked(call)
        n = normalized_prediction(t, q, self.scale, self.tau, self.alpha, self.state.strength)
        self.note_effect(t, n.float() - t.float())
        return n

    def fits(self, rows: Rows, text: Tensor) -> bool:
        """True where all negatives of these rows are as long as the prompt's ``text``."""
        return all(text_of.shape[0] == text.shape[1] for text_of in self._each(rows))

    def texts(self, rows: Rows) -> Tensor:
        """The negatives of these rows, all of one length: (rows, tokens, channels)."""
        return torch.stack(self._each(rows))

    def _each(self, rows: Rows) -> list[Tensor]:
        groups = self._texts.plan(list(enumerate(image for _, image in rows)))
        each = {
            row: text for group in groups for row, text in zip(group.rows, self._texts.contexts_of(group), strict=True)
        }
        return [each[i] for i in range(len(each))]

    def _asked(self, call: ModelCall) -> Tensor:
        q = torch.empty_like(call.conditional)
        for group in self._texts.plan(list(enumerate(image for _, image in call.rows))):
            text = self._texts.contexts_of(group)
            answer = call.ask(group.rows, lambda rows, total: nullcontext(), text)
            q[as_index(group.rows, q.device)] = answer.to(q.dtype)
        return q

    def _clear(self) -> None:
        super()._clear()
        self._texts.clear()

    def _neutral(self) -> str:
        return f"alpha {self.alpha:g} leaves the picture unchanged" if self.alpha == 0 else ""
