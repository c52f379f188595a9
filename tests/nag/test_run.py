"""One generation on real structures: exactly the method, only where and when asked, nothing left behind."""

import nag_reference
import nag_tiny
import pytest
import torch

from extras.nag import LayerError, Run, Settings
from extras.nag.taps import count_taps, remove_leftovers

TIMES = (999, 749, 499, 249)


def text(*tokens, seed=5):
    """One random context per entry; (n, tokens, channels) if all are as long."""
    generator = torch.Generator().manual_seed(seed)
    contexts = [torch.randn(n, nag_tiny.CONTEXT, generator=generator) for n in tokens]
    return torch.stack(contexts) if len(set(tokens)) == 1 else contexts


def latents(batch, seed=6):
    return torch.randn(batch, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def guided(unet, x, context, negatives, rows, settings=None, t=749, **step):
    """Output of one guided forward, and the report; checks that nothing is left."""
    with Run(settings or Settings(scale=5), unet.model, strict=True) as run:
        run.begin(TIMES)
        run.set_negative(negatives)
        run.step_at(t) if not step else run.step(**step)
        run.call(rows)
        out = unet(x, t, context)
    assert count_taps(unet.model) == 0
    return out, run.report


def each(n, first=0):
    return [(first + i, i) for i in range(n)]


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
    want = nag_reference.guided_reference(
        sd1, x, 749, context, [row for row, _ in rows], list(negatives), settings
    )
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
    moved = [
        (guided(unet, x, context, negative, each(1), strength=s)[0] - plain).abs().sum()
        for s in (0.25, 0.5, 1.0)
    ]
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
    other, _ = guided(
        unet, x[order], context[order], negatives, [(i, image) for i, image in enumerate(order)]
    )
    torch.testing.assert_close(other, out[order], rtol=1e-4, atol=1e-5)


def test_one_negative_serves_all_images(unet):
    x, context, negative = latents(3), text(77, 77, 77), text(77, seed=8)
    shared, _ = guided(unet, x, context, negative[0], each(3))
    listed, _ = guided(unet, x, context, negative.expand(3, -1, -1), each(3))
    assert torch.equal(shared, listed)


# -- off is off, to the bit ---


@pytest.mark.parametrize("settings", [Settings(scale=1), Settings(alpha=0)])
def test_neutral_settings_change_no_bit_and_are_told(unet, settings):
    x, context = latents(2), text(77, 77)
    out, report = guided(unet, x, context, text(77, seed=8), each(2), settings)
    assert torch.equal(out, unet(x, 749, context)) and report.mean_change == 0 and not report.acted
    assert any("unchanged" in w for w in report.warnings)


def test_strength_zero_installs_nothing(unet):
    x, context = latents(2), text(77, 77)
    plain = unet(x, 749, context)
    run = Run(Settings(), unet.model)
    run.set_negative(text(77, seed=8))
    run.step(0.0)
    assert count_taps(unet.model) == 0
    run.call(each(2))
    assert torch.equal(unet(x, 749, context), plain)
    assert run.close().calls == 0


def test_hooks_exist_only_inside_the_window(unet):
    x, context = latents(1), text(77)
    run = Run(Settings(start=0.17, end=0.5), unet.model)
    assert run.begin(TIMES) == []
    run.set_negative(text(77, seed=8))
    taps, same = [], []
    for t in TIMES:
        plain = unet(x, t, context) if not count_taps(unet.model) else None
        run.step_at(t)
        run.call(each(1))
        taps.append(count_taps(unet.model))
        out = unet(x, t, context)
        same.append(plain is not None and torch.equal(out, plain))
    report = run.close()
    assert taps == [0, 32, 32, 0]
    assert same[0] and not same[1]
    assert report.guided_steps == [2, 3] and report.calls == 32 and report.steps == 4
    assert count_taps(unet.model) == 0


def test_an_exception_in_the_model_leaves_nothing(unet):
    x, context = latents(1), text(77)
    plain = unet(x, 749, context)
    victim = [m for m in unet.model.modules() if hasattr(m, "to_v")][-1].to_v

    def explode(*_):
        raise RuntimeError("the host's own")

    with pytest.raises(RuntimeError, match="the host's own"), Run(Settings(), unet.model) as run:
        run.begin(TIMES)
        run.set_negative(text(77, seed=8))
        run.step_at(749)
        run.call(each(1))
        handle = victim.register_forward_hook(explode)
        try:
            unet(x, 749, context)
        finally:
            handle.remove()
    assert count_taps(unet.model) == 0 and torch.equal(unet(x, 749, context), plain)
    assert run.report.calls > 0


def test_leftovers_of_a_lost_run_are_removed_and_told(unet):
    x, context = latents(1), text(77)
    plain = unet(x, 749, context)
    lost = Run(Settings(), unet.model)
    lost.set_negative(text(77, seed=8))
    lost.step(1.0)
    assert count_taps(unet.model) == 32
    run = Run(Settings(), unet.model)
    assert run.leftovers == 32 and count_taps(unet.model) == 0
    assert torch.equal(unet(x, 749, context), plain)
    assert any("earlier run" in w for w in run.close().warnings)
    assert remove_leftovers(unet.model) == 0


def test_hooks_of_others_stay(unet):
    seen = []
    handle = unet.model.register_forward_hook(lambda *_: seen.append(1))
    to_q = next(m for m in unet.model.modules() if hasattr(m, "to_q")).to_q
    other = to_q.register_forward_hook(lambda *_: seen.append(2))
    try:
        guided(unet, latents(1), text(77), text(77, seed=8), each(1))
        remove_leftovers(unet.model)
        seen.clear()
        unet(latents(1), 749, text(77))
        assert set(seen) == {1, 2}
    finally:
        handle.remove()
        other.remove()


def test_close_is_final_and_may_be_repeated(unet):
    run = Run(Settings(), unet.model)
    run.set_negative(text(77, seed=8))
    run.step(1.0)
    assert run.close() is run.close() is run.report
    run.step(1.0)
    assert count_taps(unet.model) == 0


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


# -- never silent, never in the way ---


def test_an_error_of_ours_does_not_end_the_picture(unet, monkeypatch):
    x, context = latents(1), text(77)
    plain = unet(x, 749, context)
    run = Run(Settings(), unet.model)
    run.begin(TIMES)
    run.set_negative(text(77, seed=8))
    monkeypatch.setattr(run.branch, "features", lambda *_: 1 / 0)
    run.step_at(749)
    run.call(each(1))
    assert torch.equal(unet(x, 749, context), plain)
    run.step_at(499)
    assert count_taps(unet.model) == 0
    report = run.close()
    assert "ZeroDivisionError" in report.error and "ZeroDivisionError" in report.summary()
    assert report.infotext()["NAG error"] == report.error


def test_a_strict_run_raises(unet):
    with pytest.raises(ValueError, match="image is 5"), Run(Settings(), unet.model, strict=True) as run:
        run.set_negative(text(77, 77, seed=8))
        run.step(1.0)
        run.call([(0, 5)])
    assert count_taps(unet.model) == 0


@pytest.mark.parametrize(
    ("negative", "words"),
    [
        (torch.zeros(77, 5), "5 wide.*take 24"),
        ([], "empty list"),
        ([torch.zeros(24)], r"\(24,\)"),
        ([torch.zeros(0, 24)], r"\(0, 24\)"),
    ],
)
def test_negatives_that_do_not_fit_are_refused(unet, negative, words):
    with Run(Settings(), unet.model) as run, pytest.raises(ValueError, match=words):
        run.set_negative(negative)


def test_rows_beyond_the_batch_are_a_warning_not_a_guess(unet):
    x, context = latents(1), text(77)
    out, report = guided(unet, x, context, text(77, seed=8), [(3, 0)])
    assert torch.equal(out, unet(x, 749, context))
    assert any("could not be guided" in w for w in report.warnings)


def test_attention_that_bypasses_to_q_is_a_warning(sd1):
    class Bypass(torch.nn.Module):
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
            return attn.to_out[0](torch.nn.functional.linear(hidden_states, attn.to_q.weight))

    before = sd1.attn_processors
    sd1.set_attn_processor(Bypass())
    try:
        _, report = guided(nag_tiny.Callable(sd1), latents(1), text(77), text(77, seed=8), each(1))
    finally:
        sd1.set_attn_processor(before)
    assert report.calls == 0
    assert any("16 layers could not be guided" in w for w in report.warnings)
    assert any("no attention call" in w for w in report.warnings)


def test_a_run_that_never_calls_says_so(unet):
    with Run(Settings(), unet.model) as run:
        run.begin(TIMES)
    assert any("no attention call" in w for w in run.report.warnings)
    assert run.report.summary().startswith("NAG did not act")
    assert "NAG warning" in run.report.infotext()


def test_an_empty_window_is_one_warning(unet):
    run = Run(Settings(start=0.3, end=0.4), unet.model)
    assert run.begin(TIMES) == run.begin(TIMES)
    report = run.close()
    assert len(report.warnings) == 1 and "No step is guided" in report.warnings[0]


def test_the_same_evaluation_is_counted_once(unet):
    with Run(Settings(), unet.model) as run:
        run.set_negative(text(77, seed=8))
        for key in (0, 0, 1):
            run.step(1.0, key=key)
            run.call(each(1))
            unet(latents(1), 749, text(77))
    assert [step["calls"] for step in run.report.per_step] == [32, 16]
    assert run.report.guided_steps == [1, 2]


def test_cfg_is_lowered_in_the_cooldown_only_and_not_below_one(unet):
    run = Run(Settings(start=0.17, end=0.5, cooldown=0.3), unet.model)
    run.begin(TIMES)
    seen = []
    for t in TIMES:
        run.step_at(t)
        seen.append((run.cfg_scale(7.0), run.cfg_scale(1.1), run.cfg_scale(1.0), run.cfg_scale(0.5)))
    run.close()
    assert seen[:3] == [(7, 1.1, 1, 0.5)] * 3
    assert seen[3] == (pytest.approx(5.6), 1.0, 1.0, 0.5)


def test_report_is_json_and_one_line(unet):
    import json

    _, report = guided(unet, latents(1), text(77), text(77, seed=8), each(1))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["calls"] == 16 and data["guided_steps"] == [2] and data["seconds"] > 0
    assert report.summary().startswith("NAG guided steps 2 of 4, 16 layers, 16 calls, mean change ")
    assert report.infotext()["NAG guided steps"] == "2 of 4"


def test_step_before_begin_is_refused(unet):
    with Run(Settings(), unet.model) as run, pytest.raises(ValueError, match="begin"):
        run.step_at(500)
