"""One generation with one attention-space method on a transformer: what run.Run is for UNets."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..adaptive import Adaptive
from ..fused import FusedRule
from ..layers import Layer
from ..part import Part, Rows, raise_first, undo
from ..schedule import Schedule
from ..taps import marked
from .find import Transformer
from .identity import IdentitySource
from .taps import JointState, JointTap
from .text import TextSource


class JointRun(Part):
    """``layers``: those to guide. ``rule``: s of normalized_guidance, tau, alpha. ``shown``: the user's number behind
    s. ``adaptive``: see Adaptive; ``fused``: see FusedRule. Blocks before the last guided one carry the negative's
    text; those after it are left alone."""

    def __init__(
        self,
        method: str,
        schedule: Schedule,
        transformer: Transformer,
        layers: list[Layer],
        source: TextSource | IdentitySource,
        rule: tuple[float, float, float],
        shown: float,
        strict: bool,
        adaptive: float = 0.0,
        fused: bool = False,
    ):
        scale, tau, alpha = rule
        self.state: JointState = JointState(
            source=source,
            scale=scale,
            tau=tau,
            alpha=alpha,
            adaptive=Adaptive(adaptive),
            kernel=FusedRule() if fused else None,
            strict=strict,
        )
        super().__init__(method, schedule, layers, self.state)
        self.transformer, self.source, self.shown = transformer, source, shown
        guided = {layer.name: layer for layer in layers}
        blocks = list(transformer.family.blocks(transformer.module))
        end = 1 + max(i for i, block in enumerate(blocks) if block.name in guided)
        wanted = blocks[:end] if self.needs_negative else [b for b in blocks if b.name in guided]
        self._taps = [JointTap(block, self.state, guided.get(block.name)) for block in wanted]
        self._handle: RemovableHandle | None = None

    @property
    def needs_negative(self) -> bool:
        return isinstance(self.source, TextSource)

    @property
    def has_negative(self) -> bool:
        """True once there is a negative, and where none is needed."""
        return not isinstance(self.source, TextSource) or bool(self.source.contexts)

    def set_negative(
        self,
        contexts: Tensor | Sequence[Tensor],
        key: Hashable = None,
        pooled: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """The encoded negatives: (tokens, channels) of the sequence encoder per image, or one for all; ``pooled``:
        (channels,) of the other encoder likewise. Nothing is cached, so ``key`` is not needed."""
        if not isinstance(self.source, TextSource):
            raise ValueError(f"{self.method} takes no negative")
        self.source.set_contexts(contexts, pooled)

    # -- what the base class asks ---

    def _install(self) -> None:
        self._handle = self.transformer.module.register_forward_pre_hook(self._before_forward, with_kwargs=True)
        for tap in self._taps:
            tap.install()

    def _remove(self) -> None:
        handle, self._handle = self._handle, None
        self.state.arguments = {}
        removals = [self.source.rest, *(tap.remove for tap in self._taps)]
        raise_first(undo(removals if handle is None else [handle.remove, *removals]))

    @marked
    def _before_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        # a host tells the rows of this call in a hook of its own, before or after this one; torch gives no kwargs to
        # a hook that an earlier hook of this very call has removed
        if kwargs is not None:
            self.expects(args, kwargs)

    def expects(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The arguments of the model call: the negative's text begins anew."""
        if not self.acting:
            return
        state = self.state
        state.arguments = {**dict(zip(self.transformer.family.ARGUMENTS, args, strict=False)), **kwargs}
        state.fresh, state.lost = True, False

    def _plan(self, rows: Rows) -> None:
        self.state.rows = list(rows)

    def _forget_rows(self) -> None:
        self.state.rows = []

    def _rows_in_force(self) -> list[tuple[int, int]]:
        return self.state.rows

    def _put_back(self, kept: object) -> None:
        self.state.rows = list(kept) if isinstance(kept, list) else []

    def _clear(self) -> None:
        self.source.clear()

    def _neutral(self) -> str:
        if self.state.neutral:
            return f"scale {self.shown:g}, alpha {self.state.alpha:g} leave the picture unchanged"
        return ""
