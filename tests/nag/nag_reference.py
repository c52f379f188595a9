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


class Everything(nn.Module):
    """A diffusers attention processor for every layer of a UNet, in plain matrices: NAG on cross-attention, NAG-PAG
    and PAG on self-attention, each in the layers named. ``how``: dict with any of

    nag: (negatives per row, s, tau, alpha, {name: strength}), nag_pag: (beta, heads, s, tau, alpha, {name: strength}),
    pag: (beta, heads, {name: strength}). All rows of the batch are guided.
    """

    def __init__(self, name, how):
        super().__init__()
        self.name, self.how = name, how

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        z = DuplicateBatch.attend(attn, hidden_states, context)
        if encoder_hidden_states is None:
            values = attn.to_v(hidden_states)
            if "pag" in self.how and self.name in self.how["pag"][-1]:
                beta, heads, layers = self.how["pag"]
                z = toward(z, values, beta * layers[self.name], heads, attn.heads)
            if "nag_pag" in self.how and self.name in self.how["nag_pag"][-1]:
                beta, heads, s, tau, alpha, layers = self.how["nag_pag"]
                negative = toward(z, values, beta, heads, attn.heads)
                z = rule(z, negative, 1 + s * layers[self.name], tau, alpha)
        elif "nag" in self.how and self.name in self.how["nag"][-1]:
            negatives, s, tau, alpha, layers = self.how["nag"]
            each = [
                DuplicateBatch.attend(attn, hidden_states[i : i + 1], negative[None])
                for i, negative in enumerate(negatives)
            ]
            z = rule(z, torch.cat(each), 1 + (s - 1) * layers[self.name], tau, alpha)
        return attn.to_out[1](attn.to_out[0](z))


def toward(z, values, beta, heads, count):
    """(1 - beta) A + beta I on some heads, as what it does to the features."""
    z, values = (x.unflatten(-1, (count, -1)).clone() for x in (z, values))
    for head in range(count) if heads is None else heads:
        z[..., head, :] = (1 - beta) * z[..., head, :] + beta * values[..., head, :]
    return z.flatten(-2)


def rule(pos, neg, s, tau, alpha):
    """The normalised rule over the last dimension."""
    g = s * pos - (s - 1) * neg
    ratio = g.abs().sum(-1, keepdim=True) / pos.abs().sum(-1, keepdim=True)
    return alpha * g * ratio.clamp(max=tau) / ratio + (1 - alpha) * pos


def predicted(unet, x, t, context, how, permuted=None):
    """One prediction of a diffusers UNet with ``how`` in its attentions. ``permuted``: {block name: permutation per
    row, (rows, tokens)} of the tokens that enter these blocks."""
    before = unet.attn_processors
    unet.set_attn_processor({name: Everything(name.removesuffix(".processor"), how) for name in before})
    forwards = {}
    for name, order in (permuted or {}).items():
        block = unet.get_submodule(name)
        forwards[block] = block.forward
        block.forward = _permuting(block.forward, order)
    try:
        with torch.no_grad():
            return unet(x, t, context).sample
    finally:
        for block, forward in forwards.items():
            block.forward = forward
        unet.set_attn_processor(before)


def _permuting(forward, order):
    def call(hidden_states, *args, **kwargs):
        rows = [hidden_states[i][order[i]] for i in range(len(hidden_states))]
        return forward(torch.stack(rows), *args, **kwargs)

    return call


def all_together(u, t, w, three_way=None, pushed=()):
    """u + w (n - u) + sum gamma (t - p). ``three_way``: (q, s, tau, alpha); ``pushed``: (gamma, p) pairs."""
    n = t
    if three_way is not None:
        q, *numbers = three_way
        n = rule(t.flatten(1), q.flatten(1), *numbers).view_as(t)
    return u + w * (n - u) + sum(gamma * (t - p) for gamma, p in pushed)
