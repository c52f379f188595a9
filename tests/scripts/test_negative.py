"""The NAG negative is a prompt like any other: what the host makes of its own negative, bit for bit."""

import pytest
import torch

TEXTS = [
    "glasses", "", "(glasses:1.4), [hat]", "glasses BREAK hat", "[glasses:hat:.5]", "[glasses|hat]", "glasses, " * 60,
]  # fmt: skip


@pytest.fixture
def contexts(monkeypatch):
    """(contexts given to the run, the host's own uncond) of every evaluation."""
    from extras.nag.run import Run
    from modules import prompt_parser, script_callbacks

    seen, latest = [], []
    original = Run.set_negative

    def watched(self, given, key=None):
        latest[:] = given
        original(self, given, key)

    def host(params):
        uncond = params.denoiser.sampler.sampler_extra_args["uncond"]
        seen.append((list(latest), prompt_parser.reconstruct_cond_batch(uncond, params.denoiser.step)))

    monkeypatch.setattr(Run, "set_negative", watched)
    script_callbacks.on_cfg_denoiser(host)
    yield seen
    script_callbacks.remove_callbacks_for_function(host)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("clip_skip", [1, 2])
def test_bit_identical_to_the_hosts_negative(draw, engine, contexts, text, clip_skip):
    fields = {"negative_prompt": text, "steps": 4, "override_settings": {"CLIP_stop_at_last_layers": clip_skip}}
    draw({"negative": text}, **fields)
    assert len(contexts) == 4
    for given, uncond in contexts:
        assert torch.equal(given[0], uncond[0])


def test_in_the_hires_pass_too(draw, engine, contexts):
    fields = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.9, "steps": 2}
    draw({"negative": "[glasses:hat:.5]"}, negative_prompt="[glasses:hat:.5]", hr_second_pass_steps=4, **fields)
    assert len(contexts) == 6
    assert all(torch.equal(given[0], uncond[0]) for given, uncond in contexts)


def test_lora_tags_are_taken_out_and_said(draw):
    tagged = draw({"negative": "glasses <lora:thing:0.7>"})
    assert tagged.same(draw({"negative": "glasses "}))
    assert "<lora:thing:0.7>" in tagged.comments and tagged.report["calls"]


def test_comments_are_taken_out(draw):
    assert draw({"negative": "glasses\n# hat"}).same(draw({"negative": "glasses\n"}))


def test_styles_are_applied(draw, engine, monkeypatch):
    from modules import shared

    def apply(prompt, styles):
        return f"{prompt}, hat" if styles == ["hats"] else prompt

    monkeypatch.setattr(shared.prompt_styles, "apply_negative_styles_to_prompt", apply)
    assert draw({"negative": "glasses"}, styles=["hats"]).same(
        draw({"negative": "glasses, hat"}, negative_prompt=", hat")
    )


def test_encoding_leaves_no_trace_in_the_host(draw, engine):
    from modules.sd_hijack import model_hijack

    before = dict(model_hijack.extra_generation_params), list(model_hijack.comments)
    draw({"negative": "(glasses:1.4), " * 40})
    assert (model_hijack.extra_generation_params, model_hijack.comments) == before
