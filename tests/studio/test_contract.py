"""What an extension may rely on: the order of the methods, its arguments, and that its errors are swallowed."""

from __future__ import annotations

import sys

import pytest
import torch


def test_scripts_are_executed_with_their_root_on_the_path_and_not_registered_as_modules(
    engine, extension_dir, recorder
):
    from modules import scripts

    assert recorder.ANSWER == 42
    assert recorder.BASEDIR == recorder.ROOT_ON_PATH == str(extension_dir)
    assert str(extension_dir) not in sys.path
    assert recorder not in sys.modules.values()
    assert scripts.basedir() != str(extension_dir)


def test_a_script_that_cannot_be_loaded_is_reported_and_the_others_work(engine):
    from modules import errors

    assert any("cannot be loaded" in r["exception"] for r in errors.get_exceptions())
    assert [s.title() for s in engine.scripts_txt2img.alwayson_scripts] == ["Recorder"]


def test_method_order(draw, recorder):
    draw(n_iter=2, steps=2)
    once = ["setup", "before_process", "process"]
    call = ["cfg_denoiser", "cfg_denoised", "cfg_after_cfg"]
    batch = [
        "before_process_batch",
        "after_extra_networks_activate",
        "process_batch",
        "process_before_every_sampling",
        *call,
        *call,
        "post_sample",
        "postprocess_batch",
        "postprocess_batch_list",
        "postprocess_image",
        "postprocess_maskoverlay",
        "postprocess_image_after_composite",
    ]
    assert recorder.names() == [*once, *batch, *batch, "postprocess"]


def test_what_is_known_when(draw, recorder):
    draw(prompt="a nerd <lora:x:1>", override_settings={"CLIP_stop_at_last_layers": 2})
    before = recorder.of("before_process")[0]
    assert before["prompts"] is None and before["settings"] == {"CLIP_stop_at_last_layers": 2}
    assert recorder.of("process")[0]["prompts"] == ["a nerd <lora:x:1>"]
    assert recorder.of("before_process_batch")[0]["prompts"] == ["a nerd <lora:x:1>"]
    assert recorder.of("process_batch")[0]["prompts"] == ["a nerd "]
    assert list(recorder.of("after_extra_networks_activate")[0]["extra_network_data"]) == ["lora"]
    assert recorder.of("process_before_every_sampling")[0]["c"].batch


def test_override_settings_hold_during_the_run_only(draw, recorder, engine):
    seen = []
    recorder.listeners["process"] = lambda d: seen.append(engine.opts.CLIP_stop_at_last_layers)
    recorder.listeners["before_process"] = lambda d: seen.append(engine.opts.CLIP_stop_at_last_layers)
    draw(override_settings={"CLIP_stop_at_last_layers": 2})
    assert seen == [1, 2] and engine.opts.CLIP_stop_at_last_layers == 1


@pytest.mark.parametrize(
    "method",
    [
        "setup",
        "before_process",
        "process",
        "before_process_batch",
        "process_batch",
        "after_extra_networks_activate",
        "process_before_every_sampling",
        "post_sample",
        "postprocess_batch",
        "postprocess_batch_list",
        "postprocess_image",
        "postprocess",
        "postprocess_maskoverlay",
        "cfg_denoiser",
        "cfg_denoised",
        "cfg_after_cfg",
    ],
)
def test_errors_of_a_script_are_swallowed_and_printed(draw, recorder, method, capsys):
    clean = draw().images[0]
    recorder.reset()
    recorder.misbehave.add(method)
    image = draw().images[0]
    assert image.tobytes() == clean.tobytes()
    assert recorder.names()[-1] == "postprocess"
    assert f"{method} misbehaves" in capsys.readouterr().err


def test_an_error_in_the_network_reaches_the_caller_without_postprocess(draw, recorder, engine):
    def fail(module, args, kwargs):
        raise ValueError("out of memory, say")

    handle = engine.model.model.register_forward_pre_hook(fail, with_kwargs=True)
    closed = []
    recorder.listeners["process"] = lambda d: setattr(d["p"], "close", lambda: closed.append(True))
    try:
        with pytest.raises(ValueError, match="out of memory"):
            draw(override_settings={"CLIP_stop_at_last_layers": 2})
    finally:
        handle.remove()
    assert "postprocess" not in recorder.names() and closed == [True]
    assert engine.opts.CLIP_stop_at_last_layers == 1 and engine.state.job_count == 0
    assert draw().images


def test_arguments_are_the_scripts_own_slice(draw, recorder, engine):
    args = engine.default_script_args("txt2img")
    script = engine.scripts_txt2img.script("RECORDER")
    assert args[script.args_from : script.args_to] == ["plain", 2.5, False]
    args[script.args_from] = 'hello, world: "x"'
    res = draw(script_args=args)
    assert recorder.of("process")[0]["args"] == ('hello, world: "x"', 2.5, False)
    from modules.infotext_utils import parse_generation_parameters

    assert parse_generation_parameters(res.infotexts[0])["Recorder word"] == 'hello, world: "x"'


def test_a_selectable_script_runs_instead(draw, recorder, engine):
    args = engine.default_script_args("txt2img")
    chosen = engine.scripts_txt2img.script("chosen")
    args[0] = 1
    args[chosen.args_from] = 2
    assert len(draw(script_args=args).images) == 2
    assert recorder.names().count("process_batch") == 2


def test_forward_pre_hooks_of_the_outer_module_fire_once_per_call(draw, engine):
    seen = []

    def hook(module, args, kwargs):
        seen.append((args[0].shape[0], sorted(kwargs), kwargs["c_crossattn"][0].shape))

    handle = engine.model.model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        draw(steps=3)
    finally:
        handle.remove()
    assert seen == [(2, ["c_concat", "c_crossattn"], torch.Size([2, 77, 64]))] * 3


def test_every_cross_attention_has_the_parts_that_extensions_hook(engine):
    layers = [m for name, m in engine.model.model.diffusion_model.named_modules() if name.endswith(".attn2")]
    assert len(layers) == 10
    for layer in layers:
        assert all(hasattr(layer, part) for part in ("to_q", "to_k", "to_v", "heads")) and layer.to_out[0] is not None


def test_script_info(engine):
    info = engine.scripts_txt2img.script("recorder").api_info
    assert info.name == "recorder" and info.is_alwayson and not info.is_img2img
    assert [a.label for a in info.args] == ["Word", "Number", "Tick"]
    assert (info.args[1].minimum, info.args[1].maximum, info.args[1].step, info.args[1].value) == (0, 10, 0.5, 2.5)


def test_ui_may_be_built_again_and_again(engine):
    import gradio as gr

    first = [s.args_from for s in engine.scripts_txt2img.scripts]
    with gr.Blocks():
        inputs = engine.scripts_txt2img.setup_ui(False)
    assert [s.args_from for s in engine.scripts_txt2img.scripts] == first
    assert len(inputs) == 1 + 3 + 1 and len(engine.scripts_txt2img.infotext_fields) == 3


def test_callbacks_can_be_removed():
    from modules import script_callbacks

    def listener(params):
        raise AssertionError

    script_callbacks.on_cfg_denoiser(listener)
    script_callbacks.remove_callbacks_for_function(listener)
    script_callbacks.cfg_denoiser_callback(None) if not script_callbacks.callback_map[
        "callbacks_cfg_denoiser"
    ] else None
    script_callbacks.on_cfg_denoised(listener)
    script_callbacks.remove_current_script_callbacks()
    assert all(c.callback is not listener for cs in script_callbacks.callback_map.values() for c in cs)


def test_the_same_network_keeps_its_object_and_hooks_when_other_weights_are_loaded(engine, recorder, draw):
    first, model = draw().images[0], engine.model
    handle = model.model.register_forward_pre_hook(lambda *a: recorder.note("hook"))
    try:
        engine.set_checkpoint("beta")
        assert engine.model is model and recorder.of("model_loaded")[-1]["model"] is model
        assert model.sd_checkpoint_info.name == "beta.safetensors"
        second = draw()
        assert second.images[0].tobytes() != first.tobytes() and "Model: beta" in second.info
        assert "hook" in recorder.names()
    finally:
        handle.remove()
        engine.set_checkpoint("alpha")
    assert draw().images[0].tobytes() == first.tobytes()
