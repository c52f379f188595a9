"""Guidance in Fooocus's way to a picture: it acts on the conditional rows alone, and leaves everything as it was."""

import json
import re

import fooocus_standin
import pytest
import torch

from extras.nag.guidance import Guidance
from extras.nag.hosts import fooocus
from extras.nag.hosts.fooocus.sampling import guided
from extras.nag.hosts.fooocus.task import KEY

ON = {"enabled": True, "negative": "glasses", "scale": 5.0}


@pytest.fixture
def host(monkeypatch):
    return fooocus_standin.install(monkeypatch)


def draw(host, task=None, cfg=1.0, steps=4, negative="a nerd"):
    process = guided(host.pipeline.process_diffusion)
    host.scales.clear()
    host.calls.clear()
    return process(host.encode(["a nerd"]), host.encode([negative]), steps, 7, cfg_scale=cfg, nag_time=task)


def hooks(host):
    networks = [model.diffusion_model for model in (host.model, host.refiner) if model is not None]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for net in networks for m in net.modules())


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("unequal", [False, True])
def test_acts_says_so_and_leaves_no_trace(host, cfg, unequal):
    host.unequal = unequal
    functions = host.hijack.sample_hacked, host.samplers.sampling_function
    plain, task = draw(host, cfg=cfg), fooocus.NagTask(ON)
    picture = draw(host, task, cfg)
    assert not torch.allclose(picture, plain, atol=1e-3)
    reports, error = fooocus.last_report()
    report = reports["NAG"]
    assert error is None and report.acted and report.guided_steps == [1, 2, 3, 4]
    assert report.calls == 4 * report.layers and report.layers == 16
    assert (host.hijack.sample_hacked, host.samplers.sampling_function) == functions
    assert host.samplers.sample is functions[0] and hooks(host) == 0
    assert torch.equal(draw(host, cfg=cfg), plain)


def test_the_negative_equal_to_the_prompt_changes_nothing(host):
    """So the conditional rows meet the negative, in the host's own encoding, and no others."""
    for cfg in (1.0, 4.0):
        plain = draw(host, cfg=cfg, negative="hat")
        same = draw(host, fooocus.NagTask(ON | {"negative": "a nerd"}), cfg, negative="hat")
        rounding = 5e-3 * float(plain.abs().max())  # of the filled-up keys, made larger by this random network
        assert torch.allclose(same, plain, rtol=0, atol=rounding), cfg


@pytest.mark.parametrize("off", [None, {}, {"enabled": False, "scale": 9.0, "negative": "glasses"}])
def test_off_is_off(host, off):
    plain = draw(host)
    assert torch.equal(draw(host, None if off is None else fooocus.NagTask(off)), plain)
    assert fooocus.last_report()[0] == {} or off is None


def test_only_the_window_is_guided(host):
    draw(host, fooocus.NagTask(ON | {"start": 0.17, "end": 0.5}))
    report = fooocus.last_report()[0]["NAG"]
    assert report.guided_steps == [2, 3] and report.calls == 2 * report.layers


def test_cooldown_lowers_the_cfg_scale_the_host_gave(host):
    draw(host, fooocus.NagTask(ON | {"end": 0.5, "cooldown": 0.5}), cfg=4.0)
    assert host.scales[0] == 4.0 and host.scales[-1] == pytest.approx(3.2)


def test_lines_of_the_negative_are_encoded_one_by_one(host):
    """As the worker does with its prompts; tags are taken out and it is said."""
    one = draw(host, fooocus.NagTask(ON | {"negative": "glasses\n\n hat "}))
    task = fooocus.NagTask(ON | {"negative": "glasses\nhat<lora:x:1>"})
    assert torch.equal(draw(host, task), one)
    assert "<lora:x:1>" in fooocus.last_report()[0]["NAG"].warnings[0]
    assert not torch.allclose(draw(host, fooocus.NagTask(ON | {"negative": "glasses"})), one)


def test_a_refiner_that_takes_over_is_guided_too(host):
    host.refiner, host.switch = fooocus_standin.Model(2), 2
    plain = draw(host)
    picture = draw(host, fooocus.NagTask(ON | {"start": 0.0, "end": 1.0}))
    report = fooocus.last_report()[0]["NAG"]
    assert report.guided_steps == [1, 2, 3, 4] and report.calls == 4 * 16
    assert not torch.allclose(picture, plain, atol=1e-3) and hooks(host) == 0


def test_three_way_and_nag_pag(host):
    for name in ("three_way_scale", "nag_pag_scale"):
        plain = draw(host, cfg=3.0)
        assert not torch.allclose(draw(host, fooocus.NagTask(ON | {"scale": 1.0, name: 4.0}), 3.0), plain, atol=1e-3)
        reports = fooocus.last_report()[0]
        assert [report.acted for method, report in reports.items() if method != "NAG"] == [True]
        assert torch.equal(draw(host, cfg=3.0), plain)


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), Interrupted()])
def test_the_hosts_own_failure_leaves_nothing_behind(host, error):
    plain = draw(host)
    host.explode = error
    with pytest.raises(type(error)):
        draw(host, fooocus.NagTask(ON))
    host.explode = None
    assert hooks(host) == 0 and torch.equal(draw(host), plain)


def test_our_failure_does_not_end_the_picture(host, monkeypatch, capsys):
    plain = draw(host)
    monkeypatch.setattr("extras.nag.hosts.fooocus.sampling.rows_of_options", lambda *a: 1 / 0)
    picture = draw(host, fooocus.NagTask(ON))
    assert torch.equal(picture, plain)
    assert "ZeroDivisionError" in fooocus.last_report()[1] and "guidance is off" in capsys.readouterr().err
    monkeypatch.undo()


def test_a_fooocus_that_draws_otherwise_is_told(host, capsys):
    """Guidance that nobody calls must not look like guidance."""
    other = guided(lambda *a, **k: "a picture")
    task = fooocus.NagTask(ON)
    assert other(nag_time=task) == "a picture"
    assert "does not know" in fooocus.last_report()[1]
    assert "does not know" in task.log()[1][2]


def test_a_value_that_cannot_be_is_named_and_the_picture_is_plain(host, capsys):
    plain = draw(host)
    task = fooocus.NagTask(ON | {"scale": 99})
    assert torch.equal(draw(host, task), plain)
    assert "scale: 99 is not possible, allowed: number from 1 to 20" in fooocus.last_report()[1]
    assert "scale: 99" in task.log()[0][2] and "scale: 99" in capsys.readouterr().err


def test_arguments_travel_and_come_back_from_metadata(host, monkeypatch):
    values = [True, 'glasses, "hat"', 5.0, 2.5, 0.5, 0.1, 0.9, 1, 0.2, 0.0, 1.0]
    arguments = ["the last one of the host", *reversed(values)]
    task = fooocus.NagTask.take(arguments)
    assert arguments == ["the last one of the host"] and task.settings.negative == values[1]
    draw(host, task)
    entries = {key: value for _, key, value in task.log()}
    assert "mean change" in entries["nag_time_report"]
    assert fooocus.restored({"version": "x", KEY: entries[KEY]}) == values
    assert set(fooocus.logged(entries)) == {"NAG Time", "NAG Time report"} and fooocus.logged({"seed": "7"}) == {}
    assert fooocus.restored({"version": "x", "NAG Time": json.loads(entries[KEY])}) == values
    off = fooocus.restored({"version": "x"})
    assert off[0] is False and all(isinstance(update, dict) for update in off[1:])
    assert not any(v is False for v in fooocus.restored({"performance": "Speed"}))  # a preset
    assert fooocus.NagTask.take(["fewer"]).settings is None


def test_what_the_page_says(host):
    """Of a picture without guidance: that it is off, not an empty table."""
    pytest.importorskip("gradio")
    from extras.nag.ui.fooocus_panel import report_of_last
    from extras.nag.ui.message import off_html

    draw(host, fooocus.NagTask({"enabled": False}))
    assert report_of_last() == off_html()
    draw(host, fooocus.NagTask(ON))
    assert "<table" in report_of_last() and "1-4 of 4" in report_of_last()
    draw(host, fooocus.NagTask(ON | {"scale": 99}))
    told = report_of_last()
    assert "scale" in told and "99" in told and "<table" not in told
    shown = set(re.findall(r"class=.(nag-time-[a-z]+)", told))
    assert "nag-time-error" in shown and all(f".{name} * {{" in told for name in shown), "coloured without a style.css"


def test_a_picture_that_lost_its_guidance_half_way_says_which_steps_had_it(host, monkeypatch, capsys):
    pytest.importorskip("gradio")
    from extras.nag.ui.fooocus_panel import report_of_last

    step_at = Guidance.step_at

    def fails(self, time, key=None):
        if key == 2:
            raise RuntimeError("<third step>")
        return step_at(self, time, key=key)

    monkeypatch.setattr(Guidance, "step_at", fails)
    draw(host, fooocus.NagTask(ON))
    told = report_of_last()
    assert "1-2 of 4" in told and "&lt;third step&gt;" in told and "without guidance" not in told
    assert hooks(host) == 0


def test_an_error_while_closing_leaves_no_hook_and_keeps_what_was_guided(host, monkeypatch, capsys):
    plain = draw(host)
    monkeypatch.setattr(Guidance, "close", lambda self: 1 / 0)
    draw(host, fooocus.NagTask(ON))
    reports, error = fooocus.last_report()
    assert hooks(host) == 0 and reports["NAG"].guided_steps == [1, 2, 3, 4]
    assert "ZeroDivisionError" in error and "ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.undo()
    assert torch.equal(draw(host), plain)


def test_while_a_picture_is_drawn_and_when_it_was_stopped_no_report_is_promised_yet(host):
    pytest.importorskip("gradio")
    from extras.nag.ui.fooocus_panel import report_of_last

    seen = []
    own = host.samplers.sampling_function
    host.samplers.sampling_function = lambda *args, **more: seen.append(report_of_last()) or own(*args, **more)
    host.explode = None
    draw(host, fooocus.NagTask(ON))
    assert all("comes with the finished picture" in told for told in seen) and len(seen) == 4
    host.explode = Interrupted()
    with pytest.raises(Interrupted):
        draw(host, fooocus.NagTask(ON))
    told = report_of_last()
    assert "comes with the finished picture" in told or "<table" in told, told
