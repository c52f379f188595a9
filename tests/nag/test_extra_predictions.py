"""Asking the model once more, whatever it is called with: cut to the conditional rows, or whole, or one by one."""

import nag_tiny
import pytest
import torch
from nag_guided import forward, settings
from nag_runs import TIMES, latents, text

from extras.nag.guidance import Guidance
from extras.nag.predictions.arguments import take_rows, with_text
from extras.nag.predictions.tokens import mix, permutation
from extras.nag.taps import count_taps

ASKING = ("TPG", "PAG", "three-way")
ALL = settings("NAG", "NAG-PAG", *ASKING)


class Forge(nag_tiny.LdmUNet):
    """An ldm-style UNet called as Forge calls its own: residuals are taken out of the lists given."""

    seen = ()
    fixed_batch = smallest = largest = None

    def forward(self, x, timesteps, context, y=None, control=None, transformer_options=None):
        count = x.shape[0]
        self.seen = (*self.seen, (count, transformer_options["cond_or_uncond"], transformer_options["sigmas"].shape[0]))
        if self.fixed_batch and count != self.fixed_batch:
            raise RuntimeError("shapes cannot be multiplied")
        if self.largest and count > self.largest and len(self.seen) > 1:
            raise torch.cuda.OutOfMemoryError("out of memory")
        while control["middle"]:
            x = x + control["middle"].pop()
        return super().forward(x, timesteps, context)


@pytest.fixture
def forge():
    torch.manual_seed(4)
    return Forge((1, 1, 1, 0), 1, 16).eval()


def host(model, chunks=(1, 0)):
    """The model behind one call, as Forge would make it: ``chunks`` are the parts of its batch, 0 = conditional."""

    class Host:
        def __init__(self):
            self.model = model

        def __call__(self, x, t, context):
            options = {"cond_or_uncond": list(chunks), "sigmas": torch.full((len(x),), 2.0), "patches": {"x": [len]}}
            residual = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1)).expand_as(x)
            with torch.no_grad():
                times = torch.full((len(x),), float(t))
                return model(x, times, context, control={"middle": [residual]}, transformer_options=options)

    return Host()


def both_ways(model, options, n=2):
    """Conditional rows of a batch with unconditional ones, and of a batch without."""
    x, context, negatives = latents(2 * n), text(*[77] * 2 * n), text(77, 154, seed=8)[:n]
    mixed, reports = forward(host(model), x, context, negatives, options, 6.0, finish=False)
    seen, model.seen = model.seen, ()
    with Guidance(options, model, strict=True) as guidance:
        guidance.begin(TIMES)
        guidance.set_negative(negatives)
        guidance.set_seeds(range(100, 100 + n))
        guidance.step_at(749)
        guidance.cfg_scale(6.0)
        guidance.call([(i, i) for i in range(n)])
        alone = host(model, (0,))(x[n:], 749, context[n:])
    return mixed[n:], alone, reports, seen


@pytest.mark.parametrize("method", ASKING)
def test_residuals_and_options_of_forge_are_cut_with_the_rows(forge, method):
    mixed, alone, reports, seen = both_ways(forge, settings(method))
    torch.testing.assert_close(mixed, alone, rtol=1e-4, atol=1e-5)
    assert reports[method].acted and seen[0] == (4, [1, 0], 4)
    assert all(chunks == [0] and count == sigmas <= 2 for count, chunks, sigmas in seen[1:])


@pytest.mark.parametrize("method", ASKING)
def test_what_cannot_be_cut_runs_whole(forge, method):
    x, context, negatives = latents(4), text(77, 77, 77, 77), text(77, 77, seed=8)
    want, _ = forward(host(forge), x, context, negatives, settings(method), 6.0, finish=False)
    forge.fixed_batch = 4
    got, reports = forward(host(forge), x, context, negatives, settings(method), 6.0, finish=False)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert reports[method].acted and any("could not be cut" in w for w in reports[method].warnings)


@pytest.mark.parametrize("method", ASKING)
def test_short_of_memory_images_are_asked_one_by_one(forge, method):
    x, context, negatives = latents(4), text(77, 77, 77, 77), text(77, 77, seed=8)
    want, _ = forward(host(forge), x, context, negatives, settings(method), 6.0, finish=False)
    forge.seen, forge.largest = (), 1
    got, reports = forward(host(forge), x, context, negatives, settings(method), 6.0, finish=False)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert [count for count, *_ in forge.seen] == [4, 2, 1, 1] and reports[method].error is None


def test_a_t2i_adapter_of_diffusers_takes_part(sd1):
    """The UNet takes the adapter's features out of the list it is given."""

    class Adapted:
        model = sd1

        def __call__(self, x, t, context):
            one = torch.Generator().manual_seed(1)
            sizes = ((16, 16), (16, 8), (32, 4), (32, 2))
            features = [torch.randn(1, c, s, s, generator=one).expand(len(x), -1, -1, -1) for c, s in sizes]
            with torch.no_grad():
                return sd1(x, t, context, down_intrablock_additional_residuals=features, return_dict=False)[0]

    x, context, negatives = latents(4), text(77, 77, 77, 77), text(77, 77, seed=8)
    unet = Adapted()
    mixed, reports = forward(unet, x, context, negatives, ALL, 6.0, finish=False)
    with Guidance(ALL, sd1, strict=True) as guidance:
        guidance.begin(TIMES)
        guidance.set_negative(negatives)
        guidance.set_seeds((100, 101))
        guidance.step_at(749)
        guidance.cfg_scale(6.0)
        guidance.call([(0, 0), (1, 1)])
        alone = unet(x[2:], 749, context[2:])
    torch.testing.assert_close(mixed[2:], alone, rtol=1e-4, atol=1e-5)
    assert all(report.acted for report in reports.values())


# -- errors ---


def guided(unet, options, rows=((0, 0),), strict=False, cfg=1.0):
    with Guidance(options, unet.model, strict=strict) as guidance:
        guidance.begin(TIMES)
        guidance.set_negative(text(77, seed=8))
        guidance.set_seeds([5])
        guidance.step_at(749)
        guidance.cfg_scale(cfg)
        guidance.call(list(rows))
        out = unet(latents(1), 749, text(77))
    assert count_taps(unet.model) == 0
    return out, guidance


@pytest.mark.parametrize("method", ASKING)
def test_a_method_that_fails_is_told_and_the_others_go_on(unet, monkeypatch, method):
    kept = [m for m in ("NAG", *ASKING) if m != method]
    want, _ = guided(unet, settings(*kept))
    real = Guidance.__init__

    def broken(self, *args, **kwargs):
        real(self, *args, **kwargs)
        part = next(p for p in self.parts if p.method == method)
        part.term = part.guided = lambda *_: 1 / 0

    monkeypatch.setattr(Guidance, "__init__", broken)
    got, guidance = guided(unet, settings("NAG", *ASKING))
    assert torch.equal(got, want)
    errors = {m: report.error for m, report in guidance.reports.items()}
    assert "ZeroDivisionError" in errors.pop(method) and set(errors.values()) == {None}
    assert "ZeroDivisionError" in str(guidance.error) or isinstance(guidance.error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        guided(unet, settings("NAG", *ASKING), strict=True)
    assert count_taps(unet.model) == 0


def test_rows_beyond_the_batch_are_told(unet):
    out, guidance = guided(unet, settings("TPG"), rows=[(3, 0)])
    assert torch.equal(out, unet(latents(1), 749, text(77)))
    assert "row 3 is not in the call's batch of 1" in guidance.report.error


def test_a_cfg_scale_of_zero_is_told(unet):
    out, guidance = guided(unet, settings("PAG"), cfg=0.0)
    assert torch.equal(out, unet(latents(1), 749, text(77))) and "CFG scale 0" in guidance.report.error


def test_a_negative_of_another_width_is_told(unet):
    options = settings("three-way")
    with Guidance(options, unet.model) as guidance:
        guidance.begin(TIMES)
        guidance.set_negative(torch.zeros(77, 5))
        guidance.step_at(749)
        guidance.call([(0, 0)])
        out = unet(latents(1), 749, text(77))
    assert torch.equal(out, unet(latents(1), 749, text(77)))
    assert "5 wide; this model's text is 24" in guidance.report.error


def test_an_error_of_the_model_leaves_nothing(unet):
    x, context = latents(1), text(77)
    plain = unet(x, 749, context)
    victim = [m for m in unet.model.modules() if hasattr(m, "to_v")][-1].to_v

    def explode(*_):
        raise RuntimeError("the host's own")

    with pytest.raises(RuntimeError, match="the host's own"), Guidance(ALL, unet.model) as guidance:
        guidance.begin(TIMES)
        guidance.set_negative(text(77, seed=8))
        guidance.step_at(749)
        guidance.call([(0, 0)])
        handle = victim.register_forward_hook(explode)
        try:
            unet(x, 749, context)
        finally:
            handle.remove()
    assert count_taps(unet.model) == 0 and torch.equal(unet(x, 749, context), plain)


def test_hooks_exist_only_in_the_steps_that_need_them(unet):
    options = settings("TPG", tpg_start=0.2, tpg_end=0.4)
    taps = []
    with Guidance(options, unet.model, strict=True) as guidance:
        guidance.begin(TIMES)
        for t in TIMES:
            guidance.step_at(t)
            guidance.call([(0, 0)])
            taps.append(count_taps(unet.model))
            unet(latents(1), t, text(77))
    assert taps == [0, 2, 0, 0] and guidance.report.guided_steps == [2]


def test_leftovers_of_a_lost_guidance_are_removed(unet):
    lost = Guidance(ALL, unet.model)
    lost.begin(TIMES)
    lost.set_negative(text(77, seed=8))
    lost.step_at(749)
    assert count_taps(unet.model) > 30
    plain = nag_tiny.Callable(unet.model)(latents(1), 749, text(77))
    with Guidance(settings("TPG"), unet.model) as guidance:
        assert count_taps(unet.model) == 0
        assert torch.equal(unet(latents(1), 749, text(77)), plain)
    assert any("earlier run" in w for w in guidance.report.warnings)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_what_it_is(dtype):
    unet = nag_tiny.Callable(nag_tiny.sd1().to(dtype))
    x, context, negatives = latents(2).to(dtype), text(77, 77).to(dtype), text(77, seed=8)
    out, reports = forward(unet, x, context, negatives, ALL)
    assert out.dtype == dtype and out.isfinite().all() and all(r.acted for r in reports.values())


# -- the parts ---


def test_rows_are_cut_out_of_everything_that_has_them():
    x = torch.arange(12.0).reshape(4, 3)
    options = {"cond_or_uncond": [1, 0], "cond_indices": [2, 3], "uncond_indices": [0, 1], "patches": {"a": [len]}}
    arguments = ((x, None), {"control": {"middle": [x, None]}, "transformer_options": options, "scale": 2.0})
    args, kwargs = take_rows(arguments, [2, 3], 4)
    assert torch.equal(args[0], x[2:]) and args[1] is None and kwargs["scale"] == 2.0
    assert torch.equal(kwargs["control"]["middle"][0], x[2:]) and kwargs["control"]["middle"][1] is None
    assert kwargs["transformer_options"] == {
        "cond_or_uncond": [0], "cond_indices": [0, 1], "uncond_indices": [], "patches": {"a": [len]},
    }  # fmt: skip
    assert options["cond_or_uncond"] == [1, 0]
    assert torch.equal(take_rows(arguments, [3, 0], 4)[0][0], x[[3, 0]])


def test_the_text_is_found_by_name_or_place():
    new = torch.zeros(1, 5, 8)

    def named(x, timesteps, y=None, context=None):
        pass

    old = torch.ones(1, 7, 8)
    assert torch.equal(with_text(((1, 2, 3, old), {}), new, named)[0][3], new)
    assert torch.equal(with_text(((1, 2, old), {}), new, lambda *a: None)[0][2], new)
    assert torch.equal(with_text(((), {"context": old}), new, named)[1]["context"], new)
    _, kwargs = with_text(
        ((), {"encoder_hidden_states": old, "encoder_attention_mask": torch.ones(1, 7), "txt_ids": torch.zeros(7, 3)}),
        new,
        named,
    )
    assert kwargs["encoder_attention_mask"] is None and kwargs["txt_ids"].shape == (5, 3)
    with pytest.raises(ValueError, match="text is not found"):
        with_text(((1,), {}), new, named)


@pytest.mark.parametrize("tokens", [1, 7, 64])
def test_permutations(tokens):
    whole = permutation(tokens, mix(5, 0, 3))
    assert sorted(whole.tolist()) == list(range(tokens))
    assert torch.equal(whole, permutation(tokens, mix(5, 0, 3)))
    part = permutation(tokens, mix(5, 0, 3), 0.5)
    assert sorted(part.tolist()) == list(range(tokens))
    assert (part != torch.arange(tokens)).sum() <= round(tokens / 2)
    assert torch.equal(permutation(tokens, 1, 0.0), torch.arange(tokens))
    others = [mix(6, 0, 3), mix(5, 1, 3), mix(5, 0, 4)]
    assert tokens < 64 or not any(torch.equal(whole, permutation(tokens, other)) for other in others)
