"""What the image's tokens give each other in joint attention, computed once for both texts.

Attention over two sets of keys is a mean of the attentions over either, weighted by their sums of exponentials; that is
how FlashAttention (arXiv 2205.14135, section 3.1) puts its blocks together. The image's queries meet the image's keys
beside the prompt, and the same once more beside the negative. So in a guided block their attention is computed in two
parts, over the prompt's keys and over the image's, and the negative needs but a third part, over its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from ..closeness import check_close
from ..errors import out_of_memory
from ..kept import as_index
from ..sdpa import plain_call

# When a kind is first met, some queries are compared: how far features of the parts put together may be from those of
# the whole, relative to the largest, and sums from those written out.
_QUERIES = 16
_CLOSE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
_CLOSE_SUMS = 1e-2

_Kind = tuple[str, torch.dtype, int]  # device, type, head size
_sound: set[_Kind] = set()  # that were compared
_refused: set[_Kind] = set()  # those for which torch has no such kernel, or a wrong one


@dataclass(frozen=True)
class ImagePart:
    """Of some rows of a call. ``q``, ``k``, ``v``: of the image's tokens, as they meet: (rows, heads, tokens, size).
    ``features``: their attention to each other, the same shape; ``sums``: the logarithms of its sums of exponentials,
    (rows, heads, tokens)."""

    rows: tuple[int, ...]
    q: Tensor
    k: Tensor
    v: Tensor
    features: Tensor
    sums: Tensor

    def of(self, rows: Sequence[int]) -> ImagePart:
        """The same of these of its rows."""
        if tuple(rows) == self.rows:
            return self
        where = as_index([self.rows.index(row) for row in rows], self.q.device)
        return ImagePart(tuple(rows), *(x[where] for x in (self.q, self.k, self.v, self.features, self.sums)))

    def beside(self, k: Tensor, v: Tensor, into: Tensor | None = None) -> Tensor:
        """The image's features where a text's keys and values (rows, heads, text tokens, size) stand beside it."""
        return _merged(self.features, self.sums, *_with_sums(self.q, _as(k, self.k), _as(v, self.v)), into)

    def asked_by(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The features of a text's tokens beside the image: (rows, heads, text tokens, size)."""
        q, k, v = _as(q, self.q), _as(k, self.k), _as(v, self.v)
        return _merged(*_with_sums(q, self.k, self.v), *_with_sums(q, k, v))


class Sharing(TorchFunctionMode):
    """While a block runs: takes its joint attention apart. ``part``: what was found, None where the host attends in
    another way, or torch has no kernel that tells the sums.

    ``rows``: those that are guided, the others are left to the host's own call. ``text``, ``image``: numbers of tokens;
    ``text_first``: their order in the attention. ``found``: called once there is a part.
    """

    def __init__(self, rows: Sequence[int], heads: int, text: int, image: int, text_first: bool):
        super().__init__()
        self.found: Callable[[], object] = lambda: None
        self.rows, self.heads = tuple(sorted(rows)), heads
        self.tokens = text + image
        self.text = slice(0, text) if text_first else slice(image, self.tokens)
        self.image = slice(text, self.tokens) if text_first else slice(0, image)
        self.part: ImagePart | None = None
        self.over = False  # what comes now is ours

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and self.part is None and not self.over:
            heads = self._plain(args, kwargs)
            whole = None if heads is None else self._in_parts(*heads)
            if whole is not None:
                return whole
        return func(*args, **kwargs)

    def _plain(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor] | None:
        """q, k, v where this is the block's joint attention and nothing but softmax."""
        call = plain_call(args, kwargs)
        if call is None:
            return None
        q, k, v, scale = call
        if scale not in (None, 1 / math.sqrt(q.shape[-1])):
            return None
        alike = q.shape == k.shape == v.shape and q.dtype == k.dtype == v.dtype
        fits = q.shape[1:3] == (self.heads, self.tokens) and q.shape[0] > self.rows[-1]
        learns = torch.is_grad_enabled() and q.requires_grad
        if not alike or not fits or _kind(q) in _refused or learns or _casts(q.device.type):
            return None
        return q, k, v

    def _in_parts(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
        """The host's result, and with it ``part``."""
        kind = _kind(q)
        try:
            rows = as_index(self.rows, q.device)
            every_q, every_k, every_v = q[rows], k[rows], v[rows]
            out = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
            unguided = [row for row in range(len(q)) if row not in self.rows]
            if unguided:
                others = as_index(unguided, q.device)
                out[others] = scaled_dot_product_attention(q[others], k[others], v[others])
            image_q, image_k, image_v = (x[:, :, self.image] for x in (every_q, every_k, every_v))
            part = ImagePart(self.rows, image_q, image_k, image_v, *_with_sums(image_q, image_k, image_v))
            ours = out[rows, :, self.image] if isinstance(rows, slice) else None
            guided = part.beside(every_k[:, :, self.text], every_v[:, :, self.text], ours)
            if ours is None:
                out[rows, :, self.image] = guided
            out[rows, :, self.text] = scaled_dot_product_attention(every_q[:, :, self.text], every_k, every_v)
            if kind not in _sound and not q.is_meta:
                _compare(guided, part, every_k, every_v)
                _sound.add(kind)
            self.part = part
            self.found()
            return out
        except Exception as error:  # whatever a kernel may say: the host's own call does
            if not out_of_memory(error):
                _refused.add(kind)
            return None


def _kind(q: Tensor) -> _Kind:
    return q.device.type, q.dtype, q.shape[3]


def _casts(device: str) -> bool:
    """Whether torch itself changes types before its attention."""
    try:
        return torch.is_autocast_enabled(device)
    except (TypeError, RuntimeError):  # torch before 2.4; a device that knows no autocast
        return torch.is_autocast_enabled()


def _with_sums(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Attention, and the logarithm of each query's sum of exponentials (rows, heads, queries): what torch's kernels
    keep for a backward pass."""
    ops: Any = torch.ops.aten
    old = q.is_cuda and torch.cuda.get_device_capability(q.device)[0] < 8
    if q.device.type == "cpu":
        features, sums = ops._scaled_dot_product_flash_attention_for_cpu(q, k, v)[:2]
    elif q.dtype in (torch.float16, torch.bfloat16) and not old:
        features, sums = ops._scaled_dot_product_flash_attention(q, k, v)[:2]
    else:
        features, sums = ops._scaled_dot_product_efficient_attention(q, k, v, None, True)[:2]
    return features, sums[..., : q.shape[2]]


def _merged(one: Tensor, sums: Tensor, other: Tensor, other_sums: Tensor, into: Tensor | None = None) -> Tensor:
    """The attention over both sets of keys, of the attentions over either; it takes the place of the other one."""
    share = torch.sigmoid(other_sums - sums).unsqueeze(-1).to(one.dtype)
    return torch.lerp(one, other, share, out=other if into is None else into)


def _as(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


def _compare(found: Tensor, part: ImagePart, k: Tensor, v: Tensor) -> None:
    q = part.q[:, :, :_QUERIES]
    check_close(found[:, :, :_QUERIES], scaled_dot_product_attention(q, k, v), _CLOSE, "attention put together")
    scores = q.float() @ part.k.float().transpose(2, 3) / math.sqrt(q.shape[3])
    off = float((part.sums[:, :, :_QUERIES].float() - scores.logsumexp(3)).abs().max())
    if not off <= _CLOSE_SUMS:
        raise ArithmeticError(f"the logarithms of the sums are {off:.3g} off")
