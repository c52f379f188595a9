"""The Flux doodle's learnt parts together: texts in, velocity out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import flux_arch
from .flux_tokenizers import clip_tokenizer, t5_tokenizer

Text = tuple[Tensor, Tensor]
"""What a text becomes: the sequence (n, 24, 64) and the pooled vector (n, 64)."""


class FluxDoodle(torch.nn.Module):
    """Transformer, sequence encoder and pooled encoder over one list of words."""

    def __init__(self, words: Sequence[str]):
        super().__init__()
        self.words = list(words)
        self.sequence_tokenizer, self.pooled_tokenizer = t5_tokenizer(words), clip_tokenizer(words)
        self.transformer = flux_arch.build_transformer()
        self.sequence = flux_arch.build_sequence_encoder(len(self.sequence_tokenizer))
        tokens = self.pooled_tokenizer
        self.pooled = flux_arch.build_pooled_encoder(len(tokens), tokens.bos_token_id, tokens.eos_token_id)

    def encode(self, texts: Sequence[str], pooled_texts: Sequence[str] | None = None) -> Text:
        """Both encodings of each text; the pooled one of `pooled_texts` where they are given."""
        sequence = self.sequence(_ids(self.sequence_tokenizer, texts)).last_hidden_state
        return sequence, self.pooled(_ids(self.pooled_tokenizer, pooled_texts or texts)).pooler_output

    def forward(self, x: Tensor, sigma: Tensor, text: Text) -> Tensor:
        """See `velocity`."""
        return velocity(self.transformer, x, sigma, text)


def velocity(
    transformer: torch.nn.Module, x: Tensor, sigma: Tensor, text: Text, guidance: Tensor | None = None
) -> Tensor:
    """noise − clean at x = (1 − sigma)·clean + sigma·noise. x: (n, c, h, w), sigma: (n,) in 0…1. ``guidance``: (n,),
    the distilled guidance of a network that takes one as a number."""
    tokens, places = pack(x)
    more = {} if guidance is None else {"guidance": guidance}
    out = transformer(
        hidden_states=tokens,
        encoder_hidden_states=text[0],
        pooled_projections=text[1],
        timestep=sigma,
        img_ids=places,
        txt_ids=x.new_zeros(text[0].shape[1], 3),
        return_dict=False,
        **more,
    )[0]
    return unpack(out, x)


def pack(x: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (n, c, h, w), two by two, as Flux's tokens (n, h w / 4, 4 c), and the tokens' places (h w / 4, 3)."""
    height, width = x.shape[-2] // 2, x.shape[-1] // 2
    patches = x.unflatten(-2, (height, 2)).unflatten(-1, (width, 2))  # n c h 2 w 2
    tokens = patches.permute(0, 2, 4, 1, 3, 5).reshape(len(x), height * width, -1)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return tokens, torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).to(x)


def unpack(tokens: Tensor, like: Tensor) -> Tensor:
    """The way back, to latents of the shape of ``like``."""
    height, width = like.shape[-2] // 2, like.shape[-1] // 2
    patches = tokens.reshape(len(like), height, width, -1, 2, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(like.shape)


def _ids(tokenizer, texts: Sequence[str]) -> Tensor:
    return tokenizer(
        list(texts), padding="max_length", max_length=flux_arch.TEXT_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids


def sigmas(steps: int) -> list[float]:
    """1, 1 − 1/n … 1/n and the 0 it ends at: steps + 1 numbers."""
    return [1 - i / steps for i in range(steps)] + [0.0]


@torch.no_grad()
def euler(
    model: Callable[[Tensor, Tensor, Text], Tensor],
    x: Tensor,
    text: Text,
    steps: int,
    cfg: float = 1.0,
    negative: Text | None = None,
) -> list[Tensor]:
    """Sample from unit noise x (n, 4, h, w). Returns all steps + 1 states, the last one clean.

    text and negative: one row, or one a picture. cfg acts where `negative` is given.
    """
    count = len(x)
    text = tuple(part.expand(count, *part.shape[1:]) for part in text)
    guided = negative is not None and cfg != 1.0
    if guided:
        text = tuple(torch.cat([a, b.expand(count, *b.shape[1:])]) for a, b in zip(text, negative, strict=True))
    states, grid = [x], sigmas(steps)
    for sigma, after in itertools.pairwise(grid):
        rows = torch.cat([x, x]) if guided else x
        v = model(rows, torch.full((len(rows),), sigma), text).float()
        if guided:
            v_text, v_negative = v.chunk(2)
            v = v_negative + cfg * (v_text - v_negative)
        x = x + (after - sigma) * v
        states.append(x)
    return states
