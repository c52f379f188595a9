"""The method written a second time, plainly, to compare with: float64, loops, the batch duplicated."""

import math

import torch
from torch import nn


def normalized(z_pos, z_neg, scale, tau, alpha):
    """Rows are lists of floats; the formula as printed in the paper's reference convention."""
    result = []
    for pos, neg in zip(z_pos, z_neg, strict=True):
        guided = [n + scale * (p - n) for p, n in zip(pos, neg, strict=True)]
        size, was = math.fsum(map(abs, guided)), math.fsum(map(abs, pos))
        if size == 0:
            factor = 1.0
        elif was == 0:
            factor = 0.0  # the limit: a norm of tau times nothing
        else:
            ratio = size / was
            factor = min(ratio, tau) / ratio
        result.append([alpha * g * factor + (1 - alpha) * p for g, p in zip(guided, pos, strict=True)])
    return result


def seed_rule(start, end, times):
    """Steps (from 1) that the published schedule guides: T(end) <= t <= T(start)."""

    def threshold(fraction):
        return math.floor((1 - fraction) * 999)

    return [i + 1 for i, t in enumerate(times) if threshold(end) <= t <= threshold(start)]


class DuplicateBatch(nn.Module):
    """A diffusers attention processor: the guided rows are appended to the batch with the negative as their
    text.

    ``rows``: conditional rows; ``negatives``: one context (tokens, channels) per row, or None: ordinary
    attention.
    """

    def __init__(self):
        super().__init__()
        self.rows, self.negatives, self.settings = [], None, None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        out = self.attend(attn, hidden_states, context)
        if encoder_hidden_states is not None and self.negatives is not None:
            s = self.settings
            for row, negative in zip(self.rows, self.negatives, strict=True):
                twice = hidden_states[row].repeat(2, 1, 1)
                z_pos = self.attend(attn, twice, context[row].repeat(2, 1, 1))[0]
                z_neg = self.attend(attn, twice, negative.repeat(2, 1, 1))[1]
                g = z_pos * s.scale - z_neg * (s.scale - 1)
                ratio = g.abs().sum(-1, keepdim=True) / z_pos.abs().sum(-1, keepdim=True)
                out[row] = s.alpha * g * ratio.clamp(max=s.tau) / ratio + (1 - s.alpha) * z_pos
        return attn.to_out[1](attn.to_out[0](out))

    @staticmethod
    def attend(attn, hidden_states, context):
        def split(x):
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        q, k, v = split(attn.to_q(hidden_states)), split(attn.to_k(context)), split(attn.to_v(context))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(-2)


def guided_reference(unet, x, t, contexts, rows, negatives, settings):
    """Output of a diffusers UNet with the method done by DuplicateBatch; the UNet's processors are put
    back."""
    before = unet.attn_processors
    reference = DuplicateBatch()
    reference.rows, reference.negatives, reference.settings = rows, negatives, settings
    unet.set_attn_processor(reference)
    try:
        with torch.no_grad():
            return unet(x, t, contexts).sample
    finally:
        unet.set_attn_processor(before)
