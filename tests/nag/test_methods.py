"""Every method against a second evaluation of the formulas: plain matrices, one model call per prediction, float64."""

import nag_reference
import nag_tiny
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nag_guided import ONE, doubled, forward, wide
from nag_guided import settings as options
from nag_runs import latents, text

from extras.nag.guidance import NO_SINGLE_BLOCK
from extras.nag.heads import parse_heads
from extras.nag.predictions.tokens import mix, permutation

METHODS = ("NAG", "NAG-PAG", "TPG", "PAG", "three-way")
MIDDLE = "mid_block.attentions.0.transformer_blocks.0"
DEEP = [
    *(f"down_blocks.{i}.attentions.{j}.transformer_blocks.0" for i in (1, 2) for j in (0, 1)),
]  # d2-d5, the default of TPG


@pytest.fixture(scope="module")
def exact():
    return doubled(nag_tiny.sd1())


def reference(unet, x, context, negatives, methods, w, s, seeds):
    """What the picture's prediction is, from the formulas alone. ``s``: the Settings."""
    model, n = unet.model, len(negatives)
    cross = [name.removesuffix(".processor") for name in model.attn_processors if ".attn2." in name]
    how = {}
    if "NAG" in methods:
        how["nag"] = (negatives, s.scale, s.tau, s.alpha, dict.fromkeys(cross, 1.0))
    if "NAG-PAG" in methods:
        rule = (s.nag_pag_beta, None, s.nag_pag_scale, s.nag_pag_tau, s.nag_pag_alpha)
        own = [name.removesuffix(".processor") for name in model.attn_processors if ".attn1." in name]
        how["nag_pag"] = (*rule, {name: 1.0 for name in own if name.startswith(("mid", "up"))})

    def ask(x, context, how, permuted=None):
        return nag_reference.predicted(model, x, 749, context, how, permuted)

    t = ask(x[-n:], context[-n:], how)
    u = ask(x[:n], context[:n], {}) if w != 1 else t
    pushed, three_way = [], None
    if "TPG" in methods:
        places = {f"d{i + 2}": name for i, name in enumerate(DEEP)}
        tokens = {name: (16, 16, 4, 4)[i] * 4 for i, name in enumerate(DEEP)}
        order = {
            name: [permutation(tokens[name], mix(seed, 1, int(place[1:]))) for seed in seeds]
            for place, name in places.items()
        }
        pushed.append((s.tpg_scale, ask(x[-n:], context[-n:], how, order)))
    if "PAG" in methods:
        pag = (s.pag_beta, parse_heads(s.pag_heads, "pag_heads"), {f"{MIDDLE}.attn1": 1.0})
        pushed.append((s.pag_scale, ask(x[-n:], context[-n:], how | {"pag": pag})))
    if "three-way" in methods:
        q = ask(x[-n:], torch.stack(list(negatives)), how)
        three_way = (q, s.three_way_scale, s.three_way_tau, s.three_way_alpha)
    if "TPG" in methods and s.tpg_mode == "alone":
        w = 1.0
    return nag_reference.all_together(u, t, w, three_way, pushed)


def compare(exact, methods, w, **more):
    s = options(*methods, **more)
    n, seeds = 2, [7, 8]
    x, context = wide(latents(n * (1 + (w != 1))), text(*[77] * n * (1 + (w != 1))))
    (negatives,) = wide(text(77, 77, seed=7))
    want = reference(exact, x, context, negatives, methods, w, s, seeds)
    applied = 1.0 if "TPG" in methods and s.tpg_mode == "alone" else w
    out, reports = forward(exact, x, context, negatives, s, w, seeds=seeds, finish=False)
    if w != 1:
        out = out[:n] + applied * (out[n:] - out[:n])
    torch.testing.assert_close(out, want, rtol=1e-9, atol=1e-11)
    assert set(reports) == (set(methods) or {"NAG"})
    return reports


@pytest.mark.parametrize("w", [1.0, 6.0])
@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_its_formula(exact, method, w):
    (report,) = compare(exact, [method], w).values()
    assert report.acted and report.mean_change > 1e-3 and not report.warnings


@pytest.mark.parametrize("w", [1.0, 6.0])
def test_all_methods_together_are_the_one_formula(exact, w):
    assert all(report.acted for report in compare(exact, METHODS, w).values())


@settings(max_examples=15)
@given(
    st.sets(st.sampled_from(METHODS)),
    st.sampled_from([1.0, 1.5, 7.0]),
    st.floats(0.1, 10),
    st.floats(0.05, 1),
    st.floats(1, 5),
    st.sampled_from(["with CFG", "alone"]),
)
def test_any_combination_of_methods(exact, methods, w, scale, share, tau, mode):
    fields = {"NAG-PAG": "nag_pag_scale", "TPG": "tpg_scale", "PAG": "pag_scale"}
    numbers = {field: scale for name, field in fields.items() if name in methods}
    numbers |= {"three_way_scale": 1 + scale} if "three-way" in methods else {}
    rules = {f"{m}alpha": share for m in ("", "nag_pag_", "three_way_")} | {f"{m}tau": tau for m in ("", "three_way_")}
    compare(exact, methods, w, tpg_mode=mode, pag_beta=share, nag_pag_beta=share, **numbers, **rules)


@pytest.mark.parametrize("more", [{"pag_beta": 0.5}, {"pag_heads": "1"}, {"pag_beta": 0.25, "pag_heads": "0"}])
def test_soft_pag_is_its_formula(exact, more):
    (report,) = compare(exact, ["PAG"], 6.0, **more).values()
    assert report.acted


@pytest.mark.parametrize("mode", ["with CFG", "alone"])
def test_the_modes_of_tpg(exact, mode):
    compare(exact, ["TPG"], 6.0, tpg_mode=mode)
    compare(exact, ["TPG", "NAG"], 6.0, tpg_mode=mode)


def test_without_any_method_nothing_changes(exact):
    (report,) = compare(exact, [], 6.0).values()
    assert report.warnings == ["every method is switched off"] and not report.acted


def test_a_unet_has_no_use_for_an_image_copy_and_says_so(sd1):
    unet, negatives = nag_tiny.Callable(sd1), text(77, 77, seed=8)
    x, context = latents(2), text(77, 77)
    plain, _ = forward(unet, x, context, negatives, options("NAG"))
    copied, reports = forward(unet, x, context, negatives, options("NAG", own_image=True))
    assert torch.equal(copied, plain) and reports["NAG"].warnings == [NO_SINGLE_BLOCK]
    assert not forward(unet, x, context, None, options("PAG", own_image=True))[1]["PAG"].warnings


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["sd1", "sd2", "ldm"])
def test_each_method_acts_on_every_family(request, method, family):
    model = nag_tiny.ldm() if family == "ldm" else request.getfixturevalue(family)
    unet = nag_tiny.Callable(model)
    x, context = latents(4), text(77, 77, 77, 77)
    plain = unet(x, 749, context)
    out, reports = forward(unet, x, context, text(77, 77, seed=8), options(method), 6.0, finish=False)
    assert torch.equal(out[:2], plain[:2])  # the unconditional rows
    assert (out[2:] - plain[2:]).abs().amax() > 1e-5
    report = reports[method]
    assert report.acted and report.guided_steps == [2] and not report.warnings
    if method != "three-way":
        assert report.layers == len(report.per_layer) > 0
        assert all(entry["calls"] == 1 and entry["change"] > 0 for entry in report.per_layer.values())


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_each_image_as_alone(sd1, method):
    unet = nag_tiny.Callable(sd1)
    x, context, negatives = latents(3), text(77, 77, 77), text(77, 154, 77, seed=8)
    together, _ = forward(unet, x, context, negatives, options(method), seeds=[5, 6, 7])
    for i in range(3):
        alone, _ = forward(unet, x[i : i + 1], context[i : i + 1], [negatives[i]], options(method), seeds=[5 + i])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_rows_anywhere_in_the_batch(sd1, method):
    unet = nag_tiny.Callable(sd1)
    x, context, negatives = latents(4), text(77, 77, 77, 77), text(77, 77, seed=8)
    rows = [(3, 1), (0, 0)]
    plain = unet(x, 749, context)
    out, _ = forward(unet, x, context, negatives, options(method), rows=rows, seeds=[5, 6])
    assert torch.equal(out[1:3], plain[1:3])
    for row, image in rows:
        alone, _ = forward(
            unet, x[row][None], context[row][None], negatives[image][None], options(method), seeds=[5 + image]
        )
        torch.testing.assert_close(out[row][None], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "NAG"])
def test_off_is_off_to_the_bit(unet, method):
    x, context, negative = latents(2), text(77, 77), text(77, seed=8)
    key = next(k for k in ONE[method] if k.endswith("_scale"))
    off = {key: 1.0 if method == "three-way" else 0.0}
    out, reports = forward(unet, x, context, None, options(**off))
    assert torch.equal(out, unet(x, 749, context)) and list(reports) == ["NAG"]
    only, _ = forward(unet, x, context, negative, options("NAG"))
    both, _ = forward(unet, x, context, negative, options("NAG", **off))
    assert torch.equal(only, both)


def test_sdxl_has_the_published_layers_of_tpg(sdxl):
    x = latents(1)
    extra = {"text_embeds": torch.zeros(1, 16), "time_ids": torch.zeros(1, 6)}

    class Xl:
        model = sdxl

        def __call__(self, x, t, context):
            with torch.no_grad():
                return sdxl(x, torch.as_tensor(t), context, added_cond_kwargs=extra).sample

    _, reports = forward(Xl(), x, text(77), text(77, seed=8), options("TPG", "PAG"))
    assert [e["notation"] for e in reports["TPG"].per_layer.values()] == [f"d{i}" for i in range(6, 24)]
    assert [e["notation"] for e in reports["PAG"].per_layer.values()] == [f"m{i}" for i in range(10)]
    assert all(report.acted for report in reports.values())


# -- heads, layers, strengths ---


@pytest.mark.parametrize("heads", [None, (0,), (1,), (0, 1)])
def test_heads_and_layers_of_self_attention(exact, heads):
    """SoftPAG and NAG-PAG on some heads of some layers, each layer with its own strength."""
    text_of = "all" if heads is None else ",".join(map(str, heads))
    names = {"d1": "down_blocks.0.attentions.1", "m0": "mid_block.attentions.0", "u8": "up_blocks.3.attentions.2"}
    strengths = {"d1": 0.5, "m0": 1.0, "u8": 0.25}
    layers = {f"{names[n]}.transformer_blocks.0.attn1": strength for n, strength in strengths.items()}
    where = ",".join(f"{name}={strength}" for name, strength in strengths.items())
    s = options("NAG-PAG", "PAG", pag_beta=0.5, pag_heads=text_of, pag_layers=where, nag_pag_beta=0.75,
                nag_pag_heads=text_of, nag_pag_layers=where)  # fmt: skip
    x, context = wide(latents(2), text(77, 77))
    out, reports = forward(exact, x, context, None, s)
    how = {"nag_pag": (0.75, heads, s.nag_pag_scale, s.nag_pag_tau, s.nag_pag_alpha, layers)}
    t = nag_reference.predicted(exact.model, x, 749, context, how)
    p = nag_reference.predicted(exact.model, x, 749, context, how | {"pag": (0.5, heads, layers)})
    want = nag_reference.all_together(t, t, 1.0, None, [(s.pag_scale, p)])
    torch.testing.assert_close(out, want, rtol=1e-9, atol=1e-11)
    assert all(report.layers == 3 and report.acted for report in reports.values())


def test_strengths_of_layers_scale_nag(exact):
    x, context, negatives = wide(latents(1), text(77), text(77, seed=7))
    s = options("NAG", layers="all=0.5,u0-u8=0.25,!m0")
    out, report = forward(exact, x, context, negatives, s)
    layers = {name.removesuffix(".processor"): 0.5 for name in exact.model.attn_processors if ".attn2." in name}
    layers |= {name: 0.25 for name in layers if name.startswith("up")}
    layers.pop(f"{MIDDLE}.attn2")
    how = {"nag": (negatives, s.scale, s.tau, s.alpha, layers)}
    torch.testing.assert_close(out, nag_reference.predicted(exact.model, x, 749, context, how), rtol=1e-9, atol=1e-11)
    assert report["NAG"].layers == 15


def test_the_ramp_scales_every_method(exact):
    """Strength 1/2 of a ramp is half of gamma, of s of NAG-PAG, of s - 1 of the others."""
    x, context, negatives = wide(latents(1), text(77), text(77, seed=7))
    half, _ = forward(exact, x, context, negatives, options(*METHODS, ramp_steps=2, tpg_scale=4), t=999, seeds=[5])
    same, _ = forward(
        exact, x, context, negatives, t=999, seeds=[5],
        options=options(*METHODS, scale=3, nag_pag_scale=1.5, tpg_scale=2, pag_scale=1.5, three_way_scale=2.5),
    )  # fmt: skip
    torch.testing.assert_close(half, same, rtol=1e-9, atol=1e-11)
