"""What a family of transformers has to answer about one of its blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Reader = Callable[[tuple[Any, ...], Any], Mapping[str, Tensor]]


@dataclass
class TextHeads:
    """The negative text of one block, ready for its attention.

    ``q``, ``k``, ``v``: (rows, heads, tokens, head size), normalised and rotated as the model does it.
    ``kept``: what the block needs afterwards (gates, its feed-forward's input): its own business.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    kept: tuple[Any, ...] = ()


@dataclass
class TextStream:
    """The negatives of some rows on their way through one forward of the model.

    ``rows``: row numbers in the call's batch. ``text``: (rows, tokens, channels), changed by each block.
    ``temb``: what modulates the text in a block, with the negative's own pooled embedding where the model
    uses one. ``text_tokens``: of the prompt, in the same call. ``mask``: (rows, tokens), or None where all
    count. bool: True where a token counts. Numbers m: m of the asking times m of the asked token is added to their
    weight, 1 for the image's (so does Chroma in diffusers).
    """

    rows: tuple[int, ...]
    text: Tensor
    temb: Any
    text_tokens: int
    mask: Tensor | None = None
    image: Tensor | None = None  # a copy of the image's tokens of its own, in single blocks (see text.TextSource)

    def bring(self, device: torch.device) -> None:
        """To the device of the next block: a model may lie on several."""
        if self.text.device != device:
            for name in ("text", "temb", "mask", "image"):
                setattr(self, name, brought(getattr(self, name), device))

    @property
    def tokens(self) -> Tensor:
        """What goes through the block: the text, and the image's copy where there is one."""
        return self.text if self.image is None else torch.cat([self.text, self.image], dim=1)

    @tokens.setter
    def tokens(self, after: Tensor) -> None:
        length = self.text.shape[1]
        self.text = after[:, :length]
        self.image = None if self.image is None else after[:, length:]


class JointBlock(Protocol):
    """One block. ``name``: module path of its attention; ``alias``: its name in the other layout; ``notation``: t0, t1,
    ... and s0, s1, ... for single blocks. ``last``: its text goes nowhere after it.

    ``captures``: (module, reader) pairs; a reader takes the arguments and the output of the module's forward and
    returns what it tells of "q", "k", "v" of the image. ``target``: the module at which z_pos is seen and
    replaced: its first argument (``at_input``) or its output. ``call``, everywhere: the arguments of the
    block's own forward, by name, with "text_tokens": how many tokens the prompt has in it. ``image_name``: of the
    image's tokens among them, where the block has two streams; ``text_first``: the order in its attention.
    """

    name: str
    notation: str
    alias: str
    block: Any  # whose forward gets the block's arguments
    module: nn.Module
    heads: int
    width: int
    last: bool
    at_input: bool
    image_name: str
    text_first: bool
    arguments: tuple[str, ...]  # names of its forward's positional arguments

    @property
    def captures(self) -> Sequence[tuple[nn.Module, Reader]]: ...

    @property
    def target(self) -> nn.Module: ...

    def image(self, tokens: Tensor, call: Mapping[str, Any]) -> tuple[int, int]:
        """(first, end) of the image's tokens in a sequence (batch, tokens, width or more) at the target."""
        ...

    def image_heads(
        self, captured: Mapping[str, Tensor], rows: Tensor | slice, call: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v of those rows' image tokens: (rows, heads, tokens, head size) each."""
        ...

    def open(self, stream: TextStream, call: Mapping[str, Any]) -> TextHeads:
        """Modulate and project ``stream.tokens``."""
        ...

    def close(self, stream: TextStream, z: Tensor, heads: TextHeads) -> Tensor:
        """``stream.tokens`` after this block: (rows, tokens, channels). ``z``: their attention, heads merged."""
        ...

    def image_in(self, call: Mapping[str, Any]) -> Tensor | None:
        """The image's tokens (batch, tokens, channels) as they enter a block with one stream; None in the others."""
        ...


def brought(value: Any, device: torch.device) -> Any:
    """The tensors in ``value``, itself or a tuple or list, on ``device``; itself where they are there."""
    if isinstance(value, Tensor):
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(brought(one, device) for one in value)
    return value


def split(x: Tensor, heads: int) -> Tensor:
    """(rows, tokens, width) -> (rows, heads, tokens, head size)."""
    n, tokens, width = x.shape
    return x.view(n, tokens, heads, width // heads).transpose(1, 2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding (arXiv 2104.09864) on neighbouring pairs. ``x``: (rows, heads, tokens, size), ``cos``,
    ``sin``: (tokens, size)."""
    real, imaginary = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((-imaginary, real), dim=-1).flatten(-2)
    return (x.float() * cos + turned * sin).to(x.dtype)


def output_as(name: str) -> Reader:
    """A reader of a module whose output is one of "q", "k", "v"."""
    return lambda args, output: {name: output}
