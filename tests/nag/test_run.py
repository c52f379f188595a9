"""One generation on real structures: exactly the method, on exactly the rows and layers asked for."""

import nag_reference
import nag_tiny
import pytest
import torch
from nag_runs import each, guided, latents, text

from extras.nag import LayerError, Run, Settings

# -- it is the method ---


@pytest.mark.parametrize("free", [False, True], ids=["CFG 1", "CFG 7"])
@pytest.mark.parametrize("tokens", [77, 154])
@pytest.mark.parametrize("settings", [Settings(scale=5), Settings(scale=11, tau=1.2, alpha=0.9)])
def test_equals_duplicating_the_batch(sd1, free, tokens, settings):
    unet, n = nag_tiny.Callable(sd1), 2
    x, context = latents(n * (1 + free)), text(*[77] * n * (1 + free))
    negatives = text(*[tokens] * n, seed=7)
    rows = each(n, first=n if free else 0)
    out, report = guided(unet, x, context, negatives, rows, settings)
    want = nag_reference.guided_reference(sd1, x, 749, context, [row for row, _ in rows], list(negatives), settings)
    torch.testing.assert_close(out, want, rtol=1e-4, atol=1e-5)
    assert report.calls == 16 and report.mean_change > 0.01
    plain = unet(x, 749, context)
    assert (out[-n:] - plain[-n:]).abs().amax() > 1e-3
    if free:
        assert torch.equal(out[:n], plain[:n])


def test_it_acts_on_every_family_and_says_so(unet):
    x, context = latents(1), text(77)
    out, report = guided(unet, x, context, text(77, seed=8), each(1))
    assert not torch.allclose(out, unet(x, 749, context), atol=1e-4)
    assert report.acted and report.calls == report.layers == 16 and report.forwards == 1
    assert report.guided_steps == [2] and 0.01 < report.mean_change < 5
    assert not report.warnings and report.error is None
    assert all(entry["calls"] == 1 and entry["change"] > 0 for entry in report.per_layer.values())
    (step,) = report.per_step
    assert step["step"] == 2 and step["calls"] == 16 and step["change"] == pytest.approx(report.mean_change)


def test_hosts_that_call_the_members_of_to_out_are_guided_too():
    model = nag_tiny.ldm()
    unet = nag_tiny.Callable(model)
    usual, _ = guided(unet, latents(1), text(77), text(77, seed=8), each(1))
    for module in model.modules():
        if isinstance(module, nag_tiny.LdmAttention):
            module.by_members = True
    members, report = guided(unet, latents(1), text(77), text(77, seed=8), each(1))
    assert torch.equal(usual, members) and report.calls == 16


def test_strength_scales_the_effect(unet):
    x, context, negative = latents(1), text(77), text(77, seed=8)
    plain = unet(x, 749, context)
    moved = [(guided(unet, x, context, negative, each(1), strength=s)[0] - plain).abs().sum() for s in (0.25, 0.5, 1.0)]
    assert 0 < moved[0] < moved[1] < moved[2]
    half, _ = guided(unet, x, context, negative, each(1), Settings(scale=5), strength=0.5)
    same, _ = guided(unet, x, context, negative, each(1), Settings(scale=3), strength=1.0)
    assert torch.equal(half, same)


def test_only_selected_layers_are_guided(unet):
    _, report = guided(unet, latents(1), text(77), text(77, seed=8), each(1), Settings(layers="m0,u0-u2"))
    assert report.layers == report.calls == 4
    assert [entry["notation"] for entry in report.per_layer.values()] == ["m0", "u0", "u1", "u2"]
    with pytest.raises(LayerError):
        Run(Settings(layers="m7"), unet.model)


# -- rows and images ---


def test_a_batch_is_each_image_as_alone(unet):
    x, context, negatives = latents(3), text(77, 77, 77), text(77, 77, 77, seed=8)
    together, _ = guided(unet, x, context, negatives, each(3))
    for i in range(3):
        alone, _ = guided(unet, x[i : i + 1], context[i : i + 1], negatives[i : i + 1], each(1))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_negatives_of_different_length_in_one_batch(unet):
    x, context, negatives = latents(4), text(77, 77, 77, 77), text(77, 154, 77, 231, seed=8)
    together, report = guided(unet, x, context, negatives, each(4))
    assert report.calls == report.layers
    for i in range(4):
        alone, _ = guided(unet, x[i : i + 1], context[i : i + 1], negatives[i], each(1))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_prompts_of_154_tokens_with_a_negative_of_77(unet):
    out, report = guided(unet, latents(1), text(154), text(77, seed=8), each(1))
    assert out.isfinite().all() and report.acted


@pytest.mark.parametrize(
    "rows",
    [
        [(2, 0), (3, 1)],  # uncond first
        [(0, 0), (1, 1)],  # cond first
        [(0, 0), (1, 0), (2, 1)],  # AND: two parts of one image
        [(3, 1), (0, 0)],  # any order, gaps
        [(1, 1)],  # a slice that mixes cond and uncond
        [],  # all uncond
    ],
)
def test_exactly_the_conditional_rows_are_touched(unet, rows):
    x, context, negatives = latents(4), text(77, 77, 77, 77), text(77, 77, seed=8)
    out, report = guided(unet, x, context, negatives, rows)
    plain = unet(x, 749, context)
    touched = {row for row, _ in rows}
    for row in range(4):
        if row not in touched:
            assert torch.equal(out[row], plain[row])
    for row, image in rows:
        alone, _ = guided(unet, x[row][None], context[row][None], negatives[image][None], each(1))
        torch.testing.assert_close(out[row][None], alone, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(out[row], plain[row], atol=1e-4)
    assert report.forwards == bool(rows)


def test_row_order_does_not_matter(unet):
    x, context, negatives = latents(3), text(77, 77, 77), text(77, 154, 77, seed=8)
    out, _ = guided(unet, x, context, negatives, each(3))
    order = [2, 0, 1]
    other, _ = guided(unet, x[order], context[order], negatives, [(i, image) for i, image in enumerate(order)])
    torch.testing.assert_close(other, out[order], rtol=1e-4, atol=1e-5)


def test_one_negative_serves_all_images(unet):
    x, context, negative = latents(3), text(77, 77, 77), text(77, seed=8)
    shared, _ = guided(unet, x, context, negative[0], each(3))
    listed, _ = guided(unet, x, context, negative.expand(3, -1, -1), each(3))
    assert torch.equal(shared, listed)
