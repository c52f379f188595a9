"""The host's own errors, the user's stops and changes of the model in the middle of a run: they take their course,
and nothing of ours is left."""

from __future__ import annotations

import pytest
import torch

GUIDED = {"negative": "glasses", "scale": 8}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
JOBS = {"one pass": {"steps": 3}, "hires": {"steps": 2, **HIRES}, "batches": {"steps": 2, "n_iter": 2, "batch_size": 2}}


class HostError(Exception):
    """Something of the host's."""


@pytest.fixture(autouse=True)
def clean(studio):
    yield
    studio.assert_clean()


@pytest.fixture
def at_evaluation(monkeypatch):
    """at_evaluation(n, action): action() before the n-th evaluation of the sampler (from 1)."""
    from modules.sd_samplers_cfg_denoiser import CFGDenoiser

    def arrange(number, action):
        seen = []
        forward = CFGDenoiser.forward

        def watched(self, *args, **kwargs):
            seen.append(1)
            if len(seen) == number:
                changed = action(self)
                kwargs |= changed or {}
            return forward(self, *args, **kwargs)

        monkeypatch.setattr(CFGDenoiser, "forward", watched)

    return arrange


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("call", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [HostError("out of memory"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_the_unet_raises(studio, job, call, error):
    calls = []

    def boom(*_):
        calls.append(1)
        if len(calls) == call:
            raise error

    handle = studio.unet.register_forward_hook(boom)
    try:
        if job == "one pass" and call == 4:
            assert studio.draw(GUIDED, **JOBS[job]).report["calls"]
        else:
            with pytest.raises(type(error)):
                studio.draw(GUIDED, **JOBS[job])
            if call > 1:
                assert "nag-time-report" in studio.panel()
    finally:
        handle.remove()


@pytest.mark.parametrize("layer", range(7))
def test_a_layer_of_the_model_raises(studio, layer):
    """Between our hook before and our hook after it."""
    from extras.nag.layers import find_layers

    attn = [x for x in find_layers(studio.unet) if x.kind == "cross"][layer].attn
    handle = attn.to_v.register_forward_hook(raising(HostError("a layer")))
    try:
        with pytest.raises(HostError):
            studio.draw(GUIDED)
    finally:
        handle.remove()


@pytest.mark.parametrize("call", [1, 2])
def test_nan(studio, monkeypatch, call):
    calls = []

    def poison(module, args, output):
        calls.append(1)
        return output * float("nan") if len(calls) == call else None

    handle = studio.unet.register_forward_hook(poison)
    try:
        with pytest.raises(Exception, match="NaN"):
            studio.draw(GUIDED)
    finally:
        handle.remove()


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("where", ["decode_first_stage", "encode_first_stage", "text encoder", "prompt"])
def test_other_parts_of_the_host_raise(studio, monkeypatch, job, where):
    from PIL import Image

    from modules import prompt_parser
    from modules.sd_hijack import model_hijack

    fields = JOBS[job]
    if where == "encode_first_stage":
        fields = {"init_images": [Image.new("RGB", (64, 64), (200, 90, 30))], "denoising_strength": 0.6, "steps": 4}
    fields = {**fields, "prompt": f"a nerd {where}"}  # not one whose conditioning the host has kept
    fail = raising(HostError(where))
    if where == "text encoder":
        monkeypatch.setattr(type(model_hijack.clip), "forward", fail)
    elif where == "prompt":
        monkeypatch.setattr(prompt_parser, "get_multicond_learned_conditioning", fail)
    else:
        monkeypatch.setattr(type(studio.engine.model), where, fail)
    with pytest.raises(HostError):
        studio.draw(GUIDED, **fields)
    monkeypatch.undo()


def test_encoding_the_nag_negative_fails_in_the_host(studio, monkeypatch):
    """Only for our text: the picture is the unguided one."""
    from modules import prompt_parser

    encode = prompt_parser.get_learned_conditioning

    def picky(model, prompts, *args, **kwargs):
        if list(prompts) == ["glasses"]:
            raise HostError("cannot encode this")
        return encode(model, prompts, *args, **kwargs)

    monkeypatch.setattr(prompt_parser, "get_learned_conditioning", picky)
    hurt = studio.draw(GUIDED)
    monkeypatch.undo()
    assert hurt.same(studio.first)
    places = hurt.texts[0], hurt.comments, studio.panel()
    assert all("cannot encode this" in place for place in places)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("how", ["interrupt", "skip", "stop_generating"])
def test_stops_at_every_step(studio, at_evaluation, job, number, how):
    at_evaluation(number, lambda _: getattr(studio.engine.state, how)())
    stopped = studio.draw(GUIDED, **JOBS[job])
    told = [step for report in stopped.reports.values() for step in report["guided_steps"]]
    if how == "stop_generating" or number > 1:
        assert told
    if how == "interrupt" and number <= JOBS[job]["steps"]:
        assert told == list(range(1, number))


SCRIPT_METHODS = [
    "before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
    "process_before_every_sampling", "before_hr", "post_sample", "postprocess_batch", "postprocess_batch_list",
    "postprocess_image", "postprocess_maskoverlay", "postprocess_image_after_composite", "postprocess",
]  # fmt: skip
CALLBACKS = ["cfg_denoiser", "cfg_denoised", "cfg_after_cfg", "extra_noise"]


@pytest.fixture(scope="module")
def undisturbed(studio):
    return studio.draw(GUIDED, **HIRES)


@pytest.mark.parametrize("method", SCRIPT_METHODS)
def test_another_extensions_script_raises(studio, undisturbed, monkeypatch, method):
    """Whatever others do, ours is done."""
    from modules import script_base

    class Troublemaker(script_base.Script):
        args_from = args_to = 1
        filename = "troublemaker.py"

        def title(self):
            return "Troublemaker"

    setattr(Troublemaker, method, raising(HostError(method)))
    scripts = studio.engine.runner("txt2img").alwayson_scripts
    scripts.insert(0, Troublemaker())
    try:
        assert studio.draw(GUIDED, **HIRES).same(undisturbed)
    finally:
        scripts.pop(0)


@pytest.mark.parametrize("callback", CALLBACKS)
def test_another_extensions_callback_raises(studio, undisturbed, callback):
    from modules import script_callbacks

    fail = raising(HostError(callback))
    getattr(script_callbacks, f"on_{callback}")(fail)
    try:
        assert studio.draw(GUIDED, **HIRES).same(undisturbed)
    finally:
        script_callbacks.remove_callbacks_for_function(fail)


@pytest.fixture
def switch(studio):
    """switch(name): what a refiner does before an evaluation, as A1111 does it. The first model comes back after."""
    from modules import sd_models

    def to(name):
        def change(denoiser):
            with sd_models.SkipWritingToConfig():
                sd_models.reload_model_weights(info=sd_models.get_closet_checkpoint_match(name))
            denoiser.p.setup_conds()
            denoiser.update_inner_model()
            given = denoiser.sampler.sampler_extra_args
            return {"cond": given["cond"], "uncond": given["uncond"]}

        return change

    yield to
    studio.engine.set_checkpoint("alpha")


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("other", ["beta", "gamma"])
def test_another_model_in_mid_run(studio, at_evaluation, switch, other, step):
    """Other weights in the same network, or another network: guided on, with the negative encoded anew."""
    at_evaluation(step, switch(other))
    guided = studio.draw(GUIDED, steps=4)
    assert guided.report["guided_steps"] == [1, 2, 3, 4] and not guided.report["error"]
    assert guided.report["calls"] == 4 * guided.report["layers"]


@pytest.mark.parametrize("other", ["beta", "gamma"])
def test_guidance_after_a_switch_is_that_models_own(studio, at_evaluation, switch, other):
    """Only the steps after the switch are in the window: then all that is guided is on the other model."""
    late = {**GUIDED, "start": 0.5, "unit": "steps"}
    pictures = []
    for nag in (None, late):
        at_evaluation(3, switch(other))
        pictures.append(studio.draw(nag, steps=4))
        studio.engine.set_checkpoint("alpha")
    assert not pictures[0].same(pictures[1])
    assert pictures[1].report["guided_steps"] == [3, 4]


@pytest.mark.parametrize("other", ["beta", "gamma"])
def test_a_hires_checkpoint(studio, other):
    fields = {**HIRES, "hr_checkpoint_name": other}
    try:
        plain, guided = studio.draw(**fields), studio.draw({**GUIDED, "hires": "second"}, **fields)
        assert not guided.same(plain) and list(guided.reports) == ["hires"] and guided.reports["hires"]["calls"]
    finally:
        studio.engine.set_checkpoint("alpha")


def test_the_generators_are_where_an_unguided_picture_leaves_them(studio):
    states = []
    for nag in (None, GUIDED):
        torch.manual_seed(5)
        studio.draw(nag, sampler_name="Euler a", steps=3)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
