"""Keys and values of the negative: computed once, never stale, in any precision."""

import nag_tiny
import pytest
import torch
from nag_runs import TIMES, each, guided, latents, text

from extras.nag import Run, Settings

# -- keys and values ---


def count_to_k(model):
    """(counter, handles): calls of every cross-attention's to_k."""
    counter, handles = {}, []
    for name, module in model.named_modules():
        if name.endswith("attn2.to_k"):
            hook = lambda *_, name=name: counter.update({name: counter.get(name, 0) + 1})  # noqa: E731
            handles.append(module.register_forward_hook(hook))
    return counter, handles


def test_keys_and_values_of_the_negative_are_computed_once_per_layer(unet):
    x, context, negative = latents(2), text(77, 77), text(77, 77, seed=8)
    run = Run(Settings(), unet.model)
    run.begin(TIMES)
    counter, handles = count_to_k(unet.model)
    for t in TIMES:
        run.set_negative(negative.clone())  # as hosts do that rebuild equal tensors each step
        run.step_at(t)
        run.call(each(2))
        unet(x, t, context)
    assert set(counter.values()) == {len(TIMES) + 1}
    run.set_negative(text(77, 77, seed=9))  # a prompt schedule moves on ...
    run.call(each(2))
    unet(x, 249, context)
    run.set_negative(negative)  # ... and back
    run.call(each(2))
    unet(x, 249, context)
    assert set(counter.values()) == {len(TIMES) + 1 + 2 + 1}
    for handle in handles:
        handle.remove()
    run.close()
    assert not run.branch._projected


def test_changing_the_negative_in_place_is_noticed(unet):
    x, context, negative = latents(1), text(77), text(77, seed=8)
    with Run(Settings(), unet.model) as run:
        outs = []
        for _ in range(2):
            run.set_negative(negative)
            run.step(1.0)
            run.call(each(1))
            outs.append(unet(x, 749, context))
            negative.mul_(-1)
    assert not torch.equal(*outs)


def test_a_named_negative_is_taken_at_its_word(unet):
    with Run(Settings(), unet.model) as run:
        run.set_negative(text(77, seed=8), key="a")
        first = run.branch._current
        run.set_negative(text(77, seed=9), key="b")
        run.set_negative(text(77, seed=8), key="a")
        assert run.branch._current is first


def test_many_negatives_do_not_pile_up(unet):
    with Run(Settings(layers="m0"), unet.model) as run:
        for seed in range(30):
            run.set_negative(text(77, seed=seed))
            run.step(1.0)
            run.call(each(1))
            unet(latents(1), 749, text(77))
        assert len(run.branch._projected) <= 8


def test_a_host_may_change_the_contexts_of_keys_and_values(unet):
    x, context, negative = latents(1), text(77), text(77, seed=8)
    with Run(Settings(), unet.model, strict=True) as run:
        run.branch.project_contexts = lambda attn, c: (c * 2, c * 2)
        run.set_negative(negative)
        run.step(1.0)
        run.call(each(1))
        changed = unet(x, 749, context)
    plain, _ = guided(unet, x, context, negative * 2, each(1), Settings(), strength=1.0)
    assert torch.equal(changed, plain)


# -- low precision ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_model_in_low_precision_with_a_float32_negative(dtype):
    unet = nag_tiny.Callable(nag_tiny.ldm().to(dtype))
    x, context = latents(2).to(dtype), text(77, 77).to(dtype)
    with Run(Settings(scale=5), unet.model, strict=True) as run:
        run.set_negative(text(77, seed=8))
        run.step(1.0)
        run.call(each(2))
        out = unet.model(x, torch.tensor(749, dtype=dtype), context)
    assert out.dtype == dtype and out.isfinite().all() and run.report.acted


def test_works_in_inference_mode(unet):
    with torch.inference_mode():
        out, report = guided(unet, latents(2), text(77, 77), text(77, seed=8), each(2))
    assert report.acted and out.isfinite().all()
