"""The NAG negative is a prompt like any other of this host."""

import pytest
from host_client import GLASSES

capability = pytest.mark.capability
TEXTS = {
    "weights": "(glasses:1.4), [hat]",
    "BREAK": "glasses BREAK hat",
    "schedule": "[glasses:hat:.5]",
    "alternation": "[glasses|hat]",
    "more than 75 tokens": "red glasses, " * 40,
}
PLAIN_WORDS = {"weights": "glasses, hat", "BREAK": "glasses hat", "schedule": "glasses", "alternation": "glasses"}


@capability("weights, BREAK, schedules, alternation, more than 75 tokens")
@pytest.mark.parametrize("kind", TEXTS)
def test_it_is_what_the_host_makes_of_its_own_negative(host, kind):
    """The same text in the host's box (taken over by 'Empty negative: host') and in ours: the same picture."""
    fields = {"negative_prompt": TEXTS[kind], "cfg_scale": 7}
    ours = host.draw({"negative": TEXTS[kind], "scale": 8}, **fields)
    of_host = host.draw({"negative": "", "scale": 8, "empty_negative": "host"}, **fields)
    assert ours.same(of_host) and ours.distance(host.draw(**fields)) > 2
    if kind in PLAIN_WORDS:
        assert not ours.same(host.draw({"negative": PLAIN_WORDS[kind], "scale": 8}, **fields)), "taken as plain words"


@capability("weights, BREAK, schedules, alternation, more than 75 tokens")
def test_a_schedule_in_the_prompt(host):
    plain, guided = host.pair(prompt="a [nerd:king:.5], [red|blue] hat BREAK tree", cfg_scale=7)
    assert guided.distance(plain) > 2 and guided.report["guided_steps"] == [1, 2, 3, 4]


@capability("empty negative: guide, skip, host's own")
@pytest.mark.parametrize("cfg", [1, 7])
def test_empty(host, cfg):
    fields = {"negative_prompt": "glasses", "cfg_scale": cfg}
    plain = host.draw(**fields)
    assert host.draw({"negative": "", "scale": 8}, **fields).report["calls"]
    skipped = host.draw({"negative": " ", "empty_negative": "skip"}, **fields)
    assert skipped.same(plain) and "nothing is guided" in skipped.warning
    of_host = host.draw({"negative": "", "scale": 8, "empty_negative": "host"}, **fields)
    assert of_host.same(host.draw(GLASSES, **fields)) and of_host.distance(plain) > 2


@capability("tags and comments in the negative")
def test_tags_are_taken_out_and_said(host):
    tagged = host.draw({"negative": "glasses <lora:none:0.7>", "scale": 8})
    assert tagged.same(host.draw({"negative": "glasses ", "scale": 8})) and "<lora:none:0.7>" in tagged.warning


@capability("tags and comments in the negative")
def test_an_unclosed_bracket_is_told(host):
    guided = host.draw({"negative": "(glasses", "scale": 8})
    assert guided.report["calls"] and "allowed: pairs ( ) and [ ]" in guided.warning


@capability("clip skip")
def test_clip_skip(host):
    if "CLIP_stop_at_last_layers" not in host.options:
        pytest.skip("no such setting here")
    before = host.api("options")["CLIP_stop_at_last_layers"]
    first = host.draw(GLASSES, negative_prompt="glasses")
    host.api("options", {"CLIP_stop_at_last_layers": 2})
    try:
        ours = host.draw(GLASSES, negative_prompt="glasses")
        of_host = host.draw({"negative": "", "scale": 8, "empty_negative": "host"}, negative_prompt="glasses")
        assert ours.same(of_host) and ours.distance(first) > 0
    finally:
        host.api("options", {"CLIP_stop_at_last_layers": before})
    assert host.restored()


@capability("styles")
def test_styles(host):
    styles = [s for s in host.api("prompt-styles") if s["negative_prompt"]]
    if not styles:
        pytest.skip("no style with a negative prompt in this installation")
    style = styles[0]
    styled = host.draw({"negative": "glasses", "scale": 8}, styles=[style["name"]])
    own = style["negative_prompt"]
    joined = own.replace("{prompt}", "glasses") if "{prompt}" in own else f"glasses, {own}"
    by_hand = host.draw({"negative": joined, "scale": 8}, prompt=styled.info["prompt"],
                        negative_prompt=styled.info["negative_prompt"])  # fmt: skip
    assert styled.same(by_hand) and styled.distance(host.draw(styles=[style["name"]])) > 2
