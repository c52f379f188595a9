"""One generation with one attention-space method: begin -> step -> call -> ... -> close -> report.

A host creates a Run (or a Guidance, which holds several), says which sampler grid is coming, gives the encoded
negatives, and before each model call where in the sampling it stands and which rows are conditional. The hooks exist
only while a guided step is in progress; close() always removes them.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from torch import Tensor, nn

from .adaptive import Adaptive
from .branches import RowGroup
from .branches.text import ProjectContexts, TextBranch
from .fused import FusedRule
from .layers import Layer, LayerError, find_blocks, find_layers, select
from .method import Method, nag
from .part import Part, Rows, raise_first, undo
from .report import Report
from .schedule import Resolved
from .settings import Settings
from .taps import CallState, Tap, remove_leftovers
from .text_part import TextPart

__all__ = ["LayerError", "Run"]


class Run(Part):
    """Guidance of one generation in attention space.

    ``model``: a UNet, or a module with one in it. ``resolved``: the schedule on the sampler's grid, or None
    until begin(). ``strict``: see Part. ``how``: the method (default: NAG as the settings have it). ``layers``: all
    layers of the model, where they are known. Raises LayerError if the model has no such layers.
    """

    def __init__(
        self,
        settings: Settings,
        model: nn.Module,
        resolved: Resolved | None = None,
        strict: bool = False,
        how: Method | None = None,
        layers: list[Layer] | None = None,
    ):
        self.settings, self.model, self.how = settings, model, how or nag(settings)
        self.branch = self.how.branch()
        every = find_layers(model) if layers is None else layers
        chosen = select(every, self.how.layers, self.branch.kind, self.how.field)
        self.branch.check(chosen)
        # the leftovers of a lost run are looked for once, by whoever comes first
        self.leftovers = remove_leftovers(model) if layers is None else 0
        self.state: CallState = CallState(
            branch=self.branch,
            scale=self.how.scale,
            tau=self.how.tau,
            alpha=self.how.alpha,
            adaptive=Adaptive(settings.adaptive),
            kernel=FusedRule() if settings.fused else None,
            strict=strict,
        )
        super().__init__(self.how.name, self.how.schedule, chosen, self.state)
        if resolved is not None:
            self.resolved, self.warnings = resolved, list(resolved.warnings)
        self._taps = [Tap(layer, self.state) for layer in self.layers]
        self._parts: dict[int, TextPart] = {}  # layer (index) -> what tells its text's part apart

    @property
    def needs_negative(self) -> bool:
        """True where the branch wants the NAG negative prompt."""
        return isinstance(self.branch, TextBranch)

    @property
    def has_negative(self) -> bool:
        """True once there is a negative, and where none is needed."""
        return not isinstance(self.branch, TextBranch) or self.branch.ready

    def project_with(self, project: ProjectContexts | None) -> None:
        """A host's way from a context to what keys and values are made of; see TextBranch."""
        if isinstance(self.branch, TextBranch):
            self.branch.project_contexts = project

    def set_negative(self, contexts: Tensor | Sequence[Tensor], key: Hashable = None) -> None:
        """The encoded negatives: a (tokens, channels) tensor per image, or one (images, tokens, channels);
        one serves all. May be called again when a prompt schedule moves on. ``key``: see
        TextBranch.set_contexts. ValueError if they do not fit the model."""
        if not isinstance(self.branch, TextBranch):
            raise ValueError(f"{self.method} takes no negative")
        want = getattr(self.layers[0].attn.to_k, "in_features", None)
        width = contexts.shape[-1] if isinstance(contexts, Tensor) else contexts[0].shape[-1] if len(contexts) else want
        if want is not None and width != want:
            raise ValueError(
                f"negative is {width} wide; this model's layers take {want}: encode it with its own encoder"
            )
        self.branch.set_contexts(contexts, key)

    def separate(self, layers: Collection[int]) -> None:
        """From the next call on, in these layers (by index) others add to the attention: only what the prompt itself
        contributes is guided there, the rest keeps its strength. Costs an attention over the text in each."""
        branch = self.branch
        if not isinstance(branch, TextBranch) or (not layers and not self._parts):
            return
        if not self._parts.keys() >= set(layers):
            blocks = {block.notation: block.module for block in find_blocks(self.model)}
            self._parts = {
                tap.layer.index: TextPart(tap.layer, blocks[tap.layer.notation], branch) for tap in self._taps
            }
        for tap in self._taps:
            part = self._parts[tap.layer.index]
            tap.text_part = part if tap.layer.index in layers else None
            if tap.text_part is not None and self._open:
                part.install()
            else:
                part.remove()

    @property
    def mixed(self) -> set[int]:
        """Layers (index) in which what others add was guided too, since it could not be told apart."""
        return self.state.mixed

    # -- what the base class asks ---

    def _install(self) -> None:
        for tap in self._taps:
            tap.install()

    def _remove(self) -> None:
        raise_first(undo([tap.remove for tap in self._taps] + [part.remove for part in self._parts.values()]))

    def _plan(self, rows: Rows) -> None:
        self.state.groups = self.branch.plan(rows)
        self.state.batch = 1 + max(row for row, _ in rows)

    def _forget_rows(self) -> None:
        self.state.groups = []

    def _rows_in_force(self) -> tuple[list[RowGroup], int] | None:
        return (self.state.groups, self.state.batch) if self.state.groups else None

    def _put_back(self, kept: object) -> None:
        self.state.groups, self.state.batch = kept if kept else ([], 0)  # type: ignore[misc]

    def _clear(self) -> None:
        self.branch.clear()

    def _neutral(self) -> str:
        if self.state.neutral:
            lowered = any(evaluation.cfg_factor != 1 for evaluation in self.account.evaluations)
            effect = (
                "guide nothing: only the cooldown acts, on a CFG above 1" if lowered else "leave the picture unchanged"
            )
            return f"scale {self.how.shown:g}, alpha {self.how.alpha:g} {effect}"
        return ""

    def _own_warnings(self, report: Report) -> list[str]:
        told = super()._own_warnings(report)
        if self.leftovers:
            told.insert(0, f"{self.leftovers} hooks of an earlier run were still there and have been removed")
        return told
