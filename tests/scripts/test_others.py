"""Other extensions that add to a layer's attention (an image prompt, a patch): theirs keeps its own strength."""

from __future__ import annotations

import pytest
import torch
from forge_family import ForgeFamily
from torch.nn.functional import scaled_dot_product_attention

GLASSES = {"negative": "glasses", "scale": 8}
SAME = {"negative": "a nerd", "scale": 8}  # as the prompt: nothing to guide away from


class ImagePrompt:
    """Its forward in place of a layer's: attention over the text, and over four tokens of its own."""

    def __init__(self, attn, seed):
        self.attn, width = attn, attn.to_q.out_features
        generator = torch.Generator().manual_seed(seed)
        self.keys, self.values = (torch.randn(1, 4, width, generator=generator) for _ in range(2))

    def attention(self, q, k, v):
        keys, values = (x.expand(len(q), -1, -1) for x in (self.keys, self.values))
        return self._over(q, k, v) + 2 * self._over(q, keys, values)

    def _over(self, *parts):
        q, k, v = (x.unflatten(-1, (self.attn.heads, -1)).transpose(1, 2) for x in parts)
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def forward(self, x, encoder_hidden_states=None, **rest):
        attn, text = self.attn, encoder_hidden_states
        z = self.attention(attn.to_q(x), attn.to_k(text), attn.to_v(text))
        for part in attn.to_out:
            z = part(z)
        return z


@pytest.fixture
def attentions(engine):
    return [m for name, m in engine.model.model.named_modules() if name.endswith("attn2")]


def like_the_hosts(attn, forward):
    """A forward that is no foreign one to whoever looks."""

    def own(*args, **kwargs):
        return forward(*args, **kwargs)

    own.__module__ = type(attn).forward.__module__
    return own


def replaced_forward(attentions, engine, monkeypatch):
    """A1111: the extension's forward on each layer."""
    for seed, attn in enumerate(attentions):
        monkeypatch.setattr(attn, "forward", ImagePrompt(attn, seed).forward)
    return len(attentions)


def replaced_attention(attentions, engine, monkeypatch):
    """Forge: the block asks the extension's function at its place; the layer's own forward is not called."""
    patches = {}
    for seed, attn in enumerate(attentions[:1]):
        image = ImagePrompt(attn, seed)
        patches["input", 1, 0] = image.attention
        monkeypatch.setattr(attn, "forward", like_the_hosts(attn, image.forward))
    ForgeFamily(engine, monkeypatch).own_options = {"patches_replace": {"attn2": patches}}
    return 1


@pytest.mark.parametrize("other, cfg", [(replaced_forward, 1), (replaced_attention, 7)])
def test_what_others_add_is_not_guided(draw, attentions, engine, monkeypatch, other, cfg):
    from extras.nag.branches.text import TextBranch

    alone = draw(cfg_scale=cfg)
    layers = other(attentions, engine, monkeypatch)
    plain = draw(cfg_scale=cfg)
    assert not plain.same(alone, tolerance=1)
    assert draw(SAME, cfg_scale=cfg).same(plain, tolerance=1)
    asked = []
    original = TextBranch.features_over
    monkeypatch.setattr(TextBranch, "features_over", lambda *a: asked.append(a) or original(*a))
    guided = draw(GLASSES, cfg_scale=cfg)
    assert not guided.same(plain, tolerance=3) and guided.report["warnings"] == []
    assert len(asked) == 4 * layers  # only the layers that are changed cost more
    assert draw(cfg_scale=cfg).same(plain)


def test_one_negative_per_image(draw, attentions, engine, monkeypatch):
    replaced_forward(attentions, engine, monkeypatch)
    plain = draw(batch_size=2, cfg_scale=7)
    guided = draw({"negative": ["glasses", "a nerd"], "scale": 8}, batch_size=2, cfg_scale=7)
    away, same = (abs(guided.pixels[i] - plain.pixels[i]).max() for i in (0, 1))
    assert away > 3 and same <= 1


def test_where_the_text_cannot_be_known_it_is_said(draw, attentions, engine, monkeypatch):
    """A block that is not called with the text it gives to its attention."""
    replaced_forward(attentions, engine, monkeypatch)
    blocks = [m for name, m in engine.model.model.named_modules() if name.endswith("transformer_blocks.0")]
    first, original = blocks[0], blocks[0].forward
    texts = []
    first.register_forward_pre_hook(lambda m, a, k: texts.append(k["encoder_hidden_states"]), with_kwargs=True)
    drop = first.register_forward_pre_hook(
        lambda m, a, k: (a, {**k, "encoder_hidden_states": None}), with_kwargs=True, prepend=False
    )
    monkeypatch.setattr(first, "forward", lambda *a, **k: original(*a, **{**k, "encoder_hidden_states": texts[-1]}))
    try:
        told = draw(GLASSES).comments
    finally:
        drop.remove()
        first._forward_pre_hooks.clear()
        first._forward_pre_hooks_with_kwargs.clear()
    assert "(test_others) changes the attention of 1 layers: what it adds there is guided too" in told
