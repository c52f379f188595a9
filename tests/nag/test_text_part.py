"""Layers to whose attention others add: only what the prompt contributes is guided, the rest keeps its strength."""

import nag_tiny
import pytest
import torch
from nag_runs import TIMES, each, latents, text

from extras.nag import Run, Settings
from extras.nag.taps import count_taps

LONG, SHORT = 30, 47


def attentions(model):
    return [m for name, m in model.named_modules() if name.endswith("attn2")]


def image_prompt(attn):
    """Adds attention over tokens of its own."""
    own = torch.randn(1, 4, attn.to_k.in_features, generator=torch.Generator().manual_seed(3))
    original = attn.forward

    def forward(x, context):
        inner, attn.to_out = attn.to_out, torch.nn.Identity()
        try:
            z = original(x, context) + 2 * original(x, own.expand(len(x), -1, -1))
        finally:
            attn.to_out = inner
        for part in inner:
            z = part(z)
        return z

    return forward


def more_tokens(attn):
    """Puts tokens of its own behind the text."""
    own = torch.randn(1, 4, attn.to_k.in_features, generator=torch.Generator().manual_seed(3))
    original = attn.forward
    return lambda x, context: original(x, torch.cat([context, own.expand(len(x), -1, -1)], 1))


def regions(attn):
    """Each half of the picture has a part of the tokens."""
    original = attn.forward

    def forward(x, context):
        pairs = zip(x.chunk(2, 1), context.split((LONG, SHORT), 1), strict=True)
        return torch.cat([original(half, part) for half, part in pairs], 1)

    return forward


def drawn(model, other, negatives, context, rows, layers, scale=5):
    """(picture, run) with ``other`` at work in the first ``layers`` layers, which are told."""
    changed = attentions(model)[:layers]
    for attn in changed:
        attn.forward = other(attn)
    unet = nag_tiny.Callable(model)
    try:
        with Run(Settings(scale=scale), model, strict=True) as run:
            run.begin(TIMES)
            run.set_negative(negatives)
            run.step_at(749)
            run.separate(range(run.layers[0].index, run.layers[layers - 1].index + 1))
            run.call(rows)
            out = unet(latents(len(context)), 749, context)
        assert count_taps(model) == 0
        return out, unet(latents(len(context)), 749, context), run
    finally:
        for attn in changed:
            del attn.forward


@pytest.mark.parametrize("other", [image_prompt, more_tokens])
def test_the_prompt_as_its_own_negative_changes_nothing(other):
    model, context = nag_tiny.ldm(), text(77, 77, 77, 77)
    out, plain, run = drawn(model, other, context[2:], context, each(2, first=2), 16)
    torch.testing.assert_close(out, plain, rtol=1e-4, atol=1e-5)
    assert run.report.mean_change < 1e-5 and not run.mixed
    away, plain, run = drawn(model, other, text(77, 77, seed=8), context, each(2, first=2), 16)
    assert (away[2:] - plain[2:]).abs().max() > 1e-3 and torch.equal(away[:2], plain[:2])


def test_what_is_added_keeps_its_strength():
    """In the layer: out = z + guided(z_text) - z_text, with z_text of the prompt alone."""
    model, context = nag_tiny.ldm(), text(77)
    first = attentions(model)[0]
    seen = []
    handle = first.to_out[0].register_forward_hook(lambda m, args, out: seen.append(args[0].clone()))
    _, _, _ = drawn(model, image_prompt, text(77, seed=8), context, each(1), 1)
    with_image, plain_image = seen[0], seen[1]
    seen.clear()
    _, _, _ = drawn(model, lambda attn: attn.forward, text(77, seed=8), context, each(1), 1)
    alone, plain_alone = seen[0], seen[1]
    handle.remove()
    torch.testing.assert_close(with_image - plain_image, alone - plain_alone, rtol=1e-3, atol=1e-5)
    assert (plain_image - plain_alone).abs().max() > 1e-2


def test_each_region_has_its_own_text():
    """Negatives and a part of the prompt that are alike: nothing is done to that region."""
    model, context = nag_tiny.ldm(), text(77)
    first = attentions(model)[0]
    seen = []
    handle = first.to_out[0].register_forward_hook(lambda m, args, out: seen.append(args[0].clone()))
    drawn(model, regions, context[:, :LONG], context, each(1), 1)
    handle.remove()
    (left, right), (plain_left, plain_right) = seen[:2], seen[2:4]
    torch.testing.assert_close(left, plain_left, rtol=1e-4, atol=1e-5)
    assert (right - plain_right).abs().max() > 1e-3


def test_a_text_that_is_not_known_is_told():
    model, context = nag_tiny.ldm(), text(77)
    block = next(m for name, m in model.named_modules() if name.endswith("transformer_blocks.0"))
    handle = block.register_forward_pre_hook(lambda m, args: (*args[:1], None))
    original = block.forward
    block.forward = lambda x, lost: original(x, context)
    try:
        out, plain, run = drawn(model, image_prompt, context, context, each(1), 1)
    finally:
        handle.remove()
        del block.forward
    assert run.mixed == {run.layers[0].index} and not torch.allclose(out, plain, atol=1e-3)
