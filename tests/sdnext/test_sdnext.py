"""Guidance in SD.Next, by its contract: it acts on the pipeline that draws, says so, and leaves all as it was."""

import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest
import torch
from sdnext_standin import Host, Processing, pipeline

from extras.nag import guide
from extras.nag.fields import FIELDS
from extras.nag.hosts.webui import account, sdnext
from extras.nag.taps import count_taps
from extras.nag.ui.axes import add_axes
from extras.nag.ui.front import FrontDoor

NAG = {"negative": "glasses", "scale": 5.0}


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return pipeline(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def host(monkeypatch, pipe):
    made = Host(monkeypatch, pipe)
    sdnext.wire(made)
    return made


def near(a, b):
    return (a - b).abs().max() < 1e-5 * b.abs().max()


class Script:
    """The calls of scripts/nag_time.py."""

    def __init__(self):
        self.front = FrontDoor(sdnext)

    def before_process(self, p, *args):
        self.front.before(p, args)

    def process(self, p, *args):
        self.front.process(p, args)

    def before_process_batch(self, p, *args, **kwargs):
        self.front.before_batch(p)

    def postprocess_batch(self, p, *args, **kwargs):
        self.front.batch_done(p)

    def postprocess(self, p, processed, *args):
        self.front.done(p, processed)


def draw(host, options=None, script=None, **job):
    p = Processing(**job)
    latents = host.process_images(p, script or Script(), () if options is None else (options,))
    return latents, p


def nothing_left(host):
    hooks = count_taps(host.pipe.unet) + len(host.pipe.unet._forward_pre_hooks)
    return hooks == 0 and host.diffusion.set_pipeline_args == host.set_pipeline_args and not account.unended


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_acts_says_so_and_leaves_no_trace(host, cfg):
    plain, _ = draw(host, cfg_scale=cfg)
    guided, p = draw(host, NAG, cfg_scale=cfg)
    assert not near(guided, plain)
    report = sdnext.session_of(p).passes()[""]
    assert report.guided_steps == [1, 2, 3, 4] and report.calls == 4 * report.layers == 64
    assert "guided steps 1-4 of 4" in p.processed.comments
    assert p.extra_generation_params[FIELDS["scale"].infotext_key] == "5"
    assert p.extra_generation_params["NAG guided steps"] == "1-4 of 4"
    assert nothing_left(host) and torch.equal(draw(host, cfg_scale=cfg)[0], plain)


def test_off_is_off(host):
    assert torch.equal(draw(host, {**NAG, "enabled": False})[0], draw(host)[0])
    assert nothing_left(host) and not host.embedders


def test_the_negative_comes_from_the_hosts_own_parser(host):
    guided, p = draw(host, NAG)
    assert [made.asked for made in host.embedders] == [(["a nerd"], ["glasses"], 4, 1, "native")]
    draw(host, NAG, prompt_attention="fixed")
    assert len(host.embedders) == 1
    own = host.embedders[0].found["negative_prompt_embeds"]
    plain = host.set_pipeline_args(p, host.pipe, p.prompts, [""], num_inference_steps=4, guidance_scale=1.0)
    with guide(host.pipe, **NAG) as run:
        run._negative = lambda *args: (own[0], None)
        assert torch.equal(host.pipe(**plain).images, guided)


def test_the_negative_equal_to_the_prompt_changes_nothing(host):
    for cfg in (1.0, 5.0):
        same = draw(host, {**NAG, "negative": "a nerd"}, cfg_scale=cfg)[0]
        assert near(same, draw(host, cfg_scale=cfg)[0])


def test_only_the_window_is_guided(host):
    _, p = draw(host, {**NAG, "start": 0.17, "end": 0.5})
    assert sdnext.session_of(p).passes()[""].guided_steps == [2, 3]


def test_batches_have_their_own_negatives(host):
    texts = ["glasses", "hat", "glasses", "hat"]
    guided, p = draw(host, {**NAG, "negative": texts}, batch_size=2, n_iter=2)
    one = [draw(host, {**NAG, "negative": text}, seed=7 + i)[0] for i, text in enumerate(texts)]
    assert near(guided, torch.cat(one))
    assert sdnext.session_of(p).passes()[""].calls == 2 * 64


@pytest.mark.parametrize(("hires", "passes"), [("both", ["", "hires"]), ("first", [""]), ("second", ["hires"])])
def test_hires_passes(host, hires, passes):
    plain, _ = draw(host, enable_hr=True)
    guided, p = draw(host, {**NAG, "hires": hires}, enable_hr=True)
    assert list(sdnext.session_of(p).passes()) == passes and not near(guided, plain)
    assert nothing_left(host) and torch.equal(draw(host, enable_hr=True)[0], plain)


def test_a_pass_that_is_left_out_is_told(host):
    plain, _ = draw(host)
    same, p = draw(host, {**NAG, "hires": "second"})
    assert torch.equal(same, plain) and "no pass was guided" in p.processed.comments


def test_bad_input_is_named_under_the_picture(host):
    plain, _ = draw(host)
    same, p = draw(host, {**NAG, "scale": 99})
    assert torch.equal(same, plain) and nothing_left(host)
    assert "scale: 99 is not possible, allowed: number from 1 to 20" in p.processed.comments
    assert "scale: 99" in p.extra_generation_params["NAG error"]


@pytest.mark.parametrize("option", [{"layers": "d99"}, {"handoff_steps": 2, "handoff_checkpoint": "base"}])
def test_what_cannot_be_is_told(host, option):
    plain, _ = draw(host)
    same, p = draw(host, {**NAG, **option})
    assert torch.equal(same, plain) and nothing_left(host)
    assert next(iter(option)) in p.processed.comments or "d99" in p.processed.comments


def test_what_has_no_effect_is_told(host):
    _, p = draw(host, {**NAG, "map": True, "skip_uncond": True})
    assert p.processed.comments.count("has no effect in SD.Next") == 2
    _, p = draw(host, {**NAG, "negative": "[glasses:hat:0.5]"})
    assert "a schedule in the NAG negative counts with its first part" in p.processed.comments


def test_an_interrupted_job_leaves_nothing_behind(host):
    plain, _ = draw(host)
    script = Script()
    host.interrupt_at = 1
    drawn, p = draw(host, NAG, script)
    assert drawn is None and p.processed is None and nothing_left(host)
    assert "1-2 of 4" in script.front.last and "error" not in script.front.last
    host.interrupt_at = None
    assert torch.equal(draw(host)[0], plain)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("shape"), KeyError("other")])
def test_the_hosts_own_failure_leaves_nothing_behind(host, error):
    plain, _ = draw(host)
    host.explode = error
    if isinstance(error, KeyError):  # not caught there
        with pytest.raises(KeyError):
            draw(host, NAG)
    else:
        draw(host, NAG)
    host.explode = None
    assert nothing_left(host) and torch.equal(draw(host)[0], plain)


@pytest.mark.parametrize("place", ["encode", "PassGuide._set_cfg", "PassGuide.__init__", "PassGuide._finish"])
def test_our_failure_does_not_end_the_picture(host, monkeypatch, place):
    owner, _, name = place.rpartition(".")
    monkeypatch.setattr(getattr(sdnext, owner) if owner else sdnext, name, lambda *a, **k: 1 / 0)
    drawn, p = draw(host, NAG)
    told = p.processed.comments
    monkeypatch.undo()
    assert drawn is not None and "ZeroDivisionError" in told and not host.raised


def test_a_pipeline_that_is_not_known_is_told(host):
    class Other:
        def __init__(self, pipe):
            self.pipe_itself, self.scheduler = pipe, pipe.scheduler

        def __call__(self, **args):
            return self.pipe_itself(**args)

    plain, _ = draw(host)
    host.shared.sd_model = Other(host.pipe)
    host.shared.sd_model.encode_prompt = host.pipe.encode_prompt
    same, p = draw(host, NAG)
    assert torch.equal(same, plain) and "pipe is Other" in p.processed.comments and nothing_left(host)


def test_a_host_that_draws_otherwise_is_told(host):
    host.process_diffusers = lambda p: torch.zeros(1)
    _, p = draw(host, NAG)
    assert "without making its pipeline's arguments" in p.processed.comments


def test_the_panel_finds_the_layers_and_loads_no_model(host):
    assert len(sdnext.loaded_layers()) == 32
    host.pipe.sd_checkpoint_info = SimpleNamespace(name="folder/dreamshaper_lcm.safetensors")
    p = Processing(network_data={"lora": [SimpleNamespace(items=["lcm-lora", "1.0"])]})
    assert sdnext.names_in_use(p) == ["lcm-lora", "dreamshaper_lcm"]
    from modules import modeldata

    modeldata.model_data.sd_model = None
    with pytest.raises(sdnext.LayerError, match="no model"):
        sdnext.loaded_layers()
    grid = sdnext.preview_grid("UniPC", None, 4)
    assert len(grid.times) == 4 and not grid.exact


def test_the_axes_of_its_plot_take_less_than_those_of_others(host, monkeypatch):
    from types import ModuleType

    class AxisOption:
        def __init__(self, label, tipe, apply, fmt=None, confirm=None, cost=0.0, choices=None):
            self.label, self.apply, self.confirm = label, apply, confirm

    plot, scripts = ModuleType("xyz_grid"), ModuleType("modules.scripts")
    plot.axis_options, plot.AxisOption = [], AxisOption
    scripts.scripts_data = [SimpleNamespace(module=plot)]
    monkeypatch.setitem(sys.modules, "modules.scripts", scripts)
    monkeypatch.setattr(sys.modules["modules"], "scripts", scripts, raising=False)
    assert add_axes() == 1 and len(plot.axis_options) == 1 + len(FIELDS)
    scale = next(axis for axis in plot.axis_options if axis.label == f"[NAG] {FIELDS['scale'].label}")
    p = Processing()
    scale.apply(p, 5.0, [5.0])
    guided = host.process_images(p, Script(), ({"enabled": False, "negative": "glasses"},))
    assert torch.equal(guided, draw(host, NAG)[0])


def test_which_host_this_is(host, monkeypatch):
    from extras.nag.hosts import webui
    from extras.nag.hosts.webui.families import host_here

    monkeypatch.setattr(host.diffusion, "__spec__", ModuleSpec("modules.processing_diffusers", None))
    assert host_here() is sdnext
    monkeypatch.delitem(sys.modules, "modules.processing_diffusers")
    monkeypatch.setattr(sys.modules["modules"], "__path__", [], raising=False)
    assert host_here() is webui
    same = ("begin_batch", "count_tokens", "end_all", "end_batch", "loaded_layers", "names_in_use", "prepare_handoff",
            "preview_grid", "session_of", "start", "wire")  # fmt: skip
    assert all(hasattr(sdnext, name) and hasattr(webui, name) for name in same)
