"""However a host keeps its weights and pictures in memory, guidance acts in every layer, and off is the host's own to
the bit: channels last, half types, weights kept in eight bits, weights that come to a block only for its call."""

import nag_tiny
import pytest
import torch
from torch import nn

from extras.nag.guidance import Guidance
from extras.nag.settings import Settings
from extras.nag.taps import count_taps

LAYERS = 16


def as_it_is(unet):
    return torch.float32


def channels_last(unet):
    unet.to(memory_format=torch.channels_last)
    return torch.float32


def bfloat16(unet):
    unet.to(torch.bfloat16)
    return torch.bfloat16


def float16(unet):
    unet.to(torch.float16)
    return torch.float16


def eight_bits_by_layer(unet):
    """diffusers: weights wait as float8 and are widened by a hook around each layer."""
    unet.to(torch.bfloat16).enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    kept = [module.to_k.weight.dtype for module in unet.modules() if hasattr(module, "to_k")]
    assert set(kept) == {torch.float8_e4m3fn}
    return torch.bfloat16


def eight_bits_by_class(unet):
    """A1111 with --opt-fp8: the forward of the layer's class widens the weight of each call."""
    unet.to(torch.bfloat16)
    for module in unet.modules():
        if isinstance(module, nn.Linear) and "to_" not in type(module).__name__:
            module.weight.data = module.weight.data.to(torch.float8_e4m3fn)
            module.forward = lambda x, own=module: nn.functional.linear(
                x, own.weight.to(x.dtype), None if own.bias is None else own.bias.to(x.dtype)
            )
    return torch.bfloat16


def weights_on_call(unet):
    """lowvram, offloading: a block has its weights only while it runs."""
    blocks = [m for m in unet.modules() if type(m).__name__ == "BasicTransformerBlock"]
    assert len(blocks) == LAYERS

    def take(block, args):
        for own, kept in zip(block.parameters(), block.kept, strict=True):
            own.data = kept

    def put_away(block, args, out):
        for own in block.parameters():
            own.data = torch.empty(0)

    for block in blocks:
        block.kept = [p.data for p in block.parameters()]
        put_away(block, None, None)
        block.register_forward_pre_hook(take)
        block.register_forward_hook(put_away)
    return torch.float32


WAYS = [as_it_is, channels_last, bfloat16, float16, eight_bits_by_layer, eight_bits_by_class, weights_on_call]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def kept(request):
    """(UNet, its inputs, the negative)."""
    unet = nag_tiny.sd1()
    dtype = request.param(unet)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 16, 16, generator=generator).to(dtype)
    if request.param is channels_last:
        x = x.to(memory_format=torch.channels_last)
    text, negative = (torch.randn(n, 77, nag_tiny.CONTEXT, generator=generator).to(dtype) for n in (2, 1))
    return nag_tiny.Callable(unet), (x, 500.0, text), negative


def guided(unet, inputs, negative, rows=((0, 0), (1, 1)), mode=torch.no_grad, **values):
    """(prediction, report)."""
    settings = Settings.parse({"scale": 4, **values})
    with Guidance(settings, unet.model, strict=True) as run, mode():
        run.begin([999.0, 500.0])
        run.set_negative(negative)
        run.step_at(500.0)
        run.call(rows)
        return unet(*inputs), run.report


def test_it_acts_and_off_is_the_hosts_own(kept):
    unet, inputs, negative = kept
    plain = unet(*inputs)
    found, report = guided(unet, inputs, negative)
    assert report.calls == LAYERS and not report.error and not report.warnings
    assert all(layer["change"] > 1e-3 for layer in report.per_layer.values())
    assert found.dtype == plain.dtype and found.isfinite().all() and not torch.equal(found, plain)
    assert torch.equal(unet(*inputs), plain) and count_taps(unet.model) == 0


def test_a_row_that_is_not_guided_is_the_hosts_own(kept):
    unet, inputs, negative = kept
    plain = unet(*inputs)
    found, report = guided(unet, inputs, negative, rows=[(1, 1)])
    assert report.calls == LAYERS
    assert torch.equal(found[0], plain[0]) and not torch.equal(found[1], plain[1])


def test_it_is_the_same_guidance(kept):
    """As that of plain float32 weights, but for rounding."""
    unet, (x, t, text), negative = kept
    reference = nag_tiny.Callable(nag_tiny.sd1())
    wide = (x.float(), t, text.float())
    moved, _ = guided(reference, wide, negative.float())
    found, _ = guided(unet, (x, t, text), negative)
    weights = any(p.dtype == torch.float8_e4m3fn for p in unet.model.parameters())
    near = 0.2 if weights else 0.05 if x.dtype != torch.float32 else 1e-4
    assert (found.float() - moved).abs().mean() < near * moved.abs().mean()


@pytest.mark.parametrize("kind", ["nag_pag_scale", "three_way_scale"])
def test_other_methods_act_too(kept, kind):
    unet, inputs, negative = kept
    plain = unet(*inputs)
    found, _ = guided(unet, inputs, negative, **{"nag": False, kind: 3})
    assert found.isfinite().all() and not torch.equal(found, plain)
    assert torch.equal(unet(*inputs), plain)


def test_keys_made_in_inference_mode_serve_a_step_outside_it(kept):
    unet, inputs, negative = kept
    settings = Settings.parse({"scale": 4})
    with Guidance(settings, unet.model, strict=True) as run:
        run.begin([999.0, 500.0])
        run.set_negative(negative)
        pictures = []
        for t, mode in ((999.0, torch.inference_mode), (500.0, torch.no_grad)):
            run.step_at(t)
            run.call([(0, 0), (1, 1)])
            with mode():
                pictures.append(unet(*inputs))
        assert torch.equal(*(p.clone() for p in pictures)) and run.report.calls == 2 * LAYERS
