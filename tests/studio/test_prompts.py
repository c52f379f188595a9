"""The prompt language: editing, alternation, emphasis, AND, chunks; and prompts made to break it."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extras.studio import bootstrap

bootstrap.install()

from modules import prompt_parser  # noqa: E402
from modules.prompt_attention import parse_prompt_attention  # noqa: E402
from modules.prompt_schedule import schedule  # noqa: E402


@pytest.mark.parametrize(
    "prompt, steps, expected",
    [
        ("plain text", 10, [[10, "plain text"]]),
        ("", 10, [[10, ""]]),
        ("a [cat:3] b", 10, [[3, "a  b"], [10, "a cat b"]]),
        ("a [cat: .5 ] b", 10, [[5, "a  b"], [10, "a cat b"]]),
        ("[cat:dog:3]", 10, [[3, "cat"], [10, "dog"]]),
        ("[cat::3]", 10, [[3, "cat"], [10, ""]]),
        ("[:dog:3]", 10, [[3, ""], [10, "dog"]]),
        ("x[a:[b:c:6]:2]y", 10, [[2, "xay"], [6, "xby"], [10, "xcy"]]),
        ("[(a:1.3):4]", 10, [[4, ""], [10, "(a:1.3)"]]),
        ("[[deep]]:2]", 10, [[10, "[[deep]]:2]"]]),
        ("[[[deep]]:2]", 10, [[2, ""], [10, "[[deep]]"]]),
        ("[cat:dog:0]", 10, [[10, "dog"]]),
        ("[cat:dog:-3]", 10, [[10, "dog"]]),
        ("[cat:dog:99]", 10, [[10, "cat"]]),
        ("[cat|dog]", 3, [[1, "cat"], [2, "dog"], [3, "cat"]]),
        ("[fe|]male", 2, [[1, "female"], [2, "male"]]),
        ("[a||b]", 3, [[1, "a"], [2, ""], [3, "b"]]),
        ("[a|(b:1.1)]", 2, [[1, "a"], [2, "(b:1.1)"]]),
        (r"a \[b:3\] \(c\)", 10, [[10, r"a \[b:3\] \(c\)"]]),
        ("(a:1.2) [b]", 10, [[10, "(a:1.2) [b]"]]),
        ("((a][:b:c [d:3]", 10, [[3, "((a][:b:c "], [10, "((a][:b:c d"]]),
        ("unbalanced [a:b", 10, [[10, "unbalanced [a:b"]]),
        ("no | here [a:b:3]", 10, [[10, "no | here [a:b:3]"]]),
        ("[a:b:3]\\", 10, [[10, "[a:b:3]\\"]]),
        ("[a:b:1e1]", 20, [[10, "a"], [20, "b"]]),
    ],
)
def test_schedules(prompt, steps, expected):
    assert schedule(prompt, steps) == expected


def test_schedules_of_the_hires_pass():
    assert schedule("[a:b:.5]", 10, 10) == [[10, "b"]]
    assert schedule("[a:b:1.5]", 10, 8) == [[4, "a"], [8, "b"]]
    assert schedule("[a:b:12]", 10, 8) == [[2, "a"], [8, "b"]]
    assert schedule("[a:b:.5]", 10, 8, use_old_scheduling=True) == [[5, "a"], [10, "b"]]


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("", [["", 1.0]]),
        ("a (b) c", [["a ", 1.0], ["b", 1.1], [" c", 1.0]]),
        ("(b:1.5)", [["b", 1.5]]),
        ("[b]", [["b", 1 / 1.1]]),
        ("((b))", [["b", 1.1 * 1.1]]),
        ("(a [b] c:2)", [["a ", 2.0], ["b", 2 / 1.1], [" c", 2.0]]),
        (r"\(a\) \\", [["(a) \\", 1.0]]),
        ("(open", [["open", 1.1]]),
        ("close)", [["close)", 1.0]]),
        ("(a)(b)", [["ab", 1.1]]),
        ("(a:-1)", [["a", -1.0]]),
        ("a BREAK b", [["a", 1.0], ["BREAK", -1], ["b", 1.0]]),
        ("aBREAKb", [["aBREAKb", 1.0]]),
        ("(a:1.2.3)", [["a:1.2.3)", 1.1]]),
        ("a:1.3)", [["a:1.3)", 1.0]]),
    ],
)
def test_emphasis(prompt, expected):
    got = parse_prompt_attention(prompt)
    assert [t for t, _ in got] == [t for t, _ in expected]
    assert [w for _, w in got] == pytest.approx([w for _, w in expected])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", " ", "(", ")", "[", "]", ":", "|", "\\", "3", ".5", "1.2", ",", "BREAK", "AND", "\n"]),
        max_size=30,
    )
)
def test_no_prompt_breaks_the_parsers(parts):
    prompt = "".join(parts)
    for args in ((4,), (4, 3), (4, None, True)):
        result = schedule(prompt, *args)
        ends = [end for end, _ in result]
        assert ends == sorted(set(ends)) and ends[-1] == (args[1] if len(args) > 1 and args[1] and len(args) < 3 else 4)
    assert all(isinstance(t, str) for t, _ in parse_prompt_attention(prompt))
    per_prompt, flat, _ = prompt_parser.get_multicond_prompt_list([prompt])
    assert len(flat) >= 1 and all(i < len(flat) for i, _ in per_prompt[0])


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 20000,
        "[" * 20000,
        "[a:" * 5000,
        "[a|" * 5000,
        "[" * 3000 + "a" + "]" * 3000,
        "(a:1.1)" * 3000,
        "[a:b:3]" * 2000,
        ":" * 20000,
    ],
)
def test_enormous_prompts_take_no_time_and_no_stack(prompt):
    start = time.perf_counter()
    schedule(prompt, 4)
    parse_prompt_attention(prompt[:4000])
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("a AND b", [("a", 1.0), (" b", 1.0)]),
        ("a :0.5 AND b:-2", [("a", 0.5), (" b", -2.0)]),
        ("android AND ANDy", [("android", 1.0), (" ANDy", 1.0)]),
        ("x AND x", [("x", 1.0), (" x", 1.0)]),
        ("", [("", 1.0)]),
        ("AND", [("", 1.0), ("", 1.0)]),
    ],
)
def test_AND(prompt, expected):
    per_prompt, flat, _ = prompt_parser.get_multicond_prompt_list([prompt])
    assert [(flat[i], w) for i, w in per_prompt[0]] == expected


def test_conditionings_keep_what_they_were_asked_for():
    texts = prompt_parser.SdConditioning(["a"], width=512, height=768, is_negative_prompt=True)
    copy = prompt_parser.SdConditioning(["b", "c"], copy_from=texts)
    assert (copy.width, copy.height, copy.is_negative_prompt, list(copy)) == (512, 768, True, ["b", "c"])


def test_reconstruction_pads_different_lengths_with_the_last_vector():
    part = prompt_parser.ScheduledPromptConditioning
    short, long = torch.randn(77, 4), torch.randn(154, 4)
    make = prompt_parser.ComposableScheduledPromptConditioning
    c = prompt_parser.MulticondLearnedConditioning((1,), [[make([part(4, short)]), make([part(4, long)], 0.5)]])
    conds, tensor = prompt_parser.reconstruct_multicond_batch(c, 0)
    assert conds == [[(0, 1.0), (1, 0.5)]] and tensor.shape == (2, 154, 4)
    assert torch.equal(tensor[0, 77:], short[-1:].expand(77, 4))


# --- the encoder


@pytest.fixture
def clip(engine):
    return engine.model.cond_stage_model


def test_chunks(clip, engine, options):
    words = lambda n: " ".join(["cat"] * n)  # noqa: E731
    for count, chunks in ((0, 1), (75, 1), (76, 2), (150, 2), (151, 3)):
        got, tokens = clip.tokenize_line(words(count))
        assert len(got) == chunks and tokens == count
        assert all(len(c.tokens) == len(c.multipliers) == 77 for c in got)
        assert all(c.tokens[0] == 49406 and c.tokens[-1] == 49407 for c in got)
    with torch.no_grad():
        assert clip([words(80), "a"]).shape == (2, 154, 64)


def test_break_starts_a_new_chunk(clip):
    got, tokens = clip.tokenize_line("cat BREAK dog")
    assert len(got) == 2 and tokens == 76


def test_a_full_chunk_is_cut_at_a_comma(clip, options):
    line = " ".join(["cat"] * 70) + ", " + " ".join(["dog"] * 10)
    cut, _ = clip.tokenize_line(line)
    assert (
        cut[0].tokens[72:] == [49407] * 5 and len([t for t in cut[1].tokens if t == clip.tokenize(["dog"])[0][0]]) == 10
    )
    options(comma_padding_backtrack=0)
    plain, _ = clip.tokenize_line(line)
    assert plain[0].tokens.count(clip.tokenize(["dog"])[0][0]) == 4


def test_emphasis_scales_vectors_and_restores_the_mean(clip, options):
    with torch.no_grad():
        plain, strong = clip(["a cat"]), clip(["a (cat:1.5)"])
        options(emphasis="No norm")
        raw = clip(["a (cat:1.5)"])
        options(emphasis="Ignore")
        assert torch.equal(clip(["a (cat:1.5)"]), plain)
    assert torch.allclose(raw[0, 2], plain[0, 2] * 1.5) and torch.equal(raw[0, 3], plain[0, 3])
    assert torch.allclose(strong.mean(), plain.mean(), rtol=1e-3)


def test_an_encoder_whose_mean_is_zero_does_not_give_nan():
    from modules.sd_emphasis import EmphasisOriginal

    emphasis = EmphasisOriginal()
    emphasis.z, emphasis.multipliers = torch.zeros(1, 3, 2), torch.ones(1, 3)
    emphasis.after_transformers()
    assert not emphasis.z.isnan().any()


def test_clip_skip(clip, options):
    with torch.no_grad():
        last = clip(["a cat"])
        options(CLIP_stop_at_last_layers=2)
        assert not torch.equal(clip(["a cat"]), last)
        options(CLIP_stop_at_last_layers=12)  # more than there are layers
        assert clip(["a cat"]).shape == last.shape


def test_the_token_counter(engine):
    from modules import ui

    assert ">3/75<" in ui.update_token_counter("a pink cat", 4)
    assert ">76/150<" in ui.update_negative_prompt_token_counter("cat " * 76, 4, [])
    assert "<b>" not in ui.update_token_counter("<b>", 4)
