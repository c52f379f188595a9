"""guide() with each method on a diffusers pipeline: it acts, in its window, and leaves nothing behind."""

import nag_pipelines
import numpy as np
import pytest
import torch
from nag_guided import OFF, ONE
from test_guide import draw, hooks

from extras.nag import LayerError, guide
from extras.nag.hosts.diffusers import NagWarning

METHODS = {"NAG-PAG", "TPG", "PAG", "three-way"}


@pytest.fixture(scope="module")
def sd_pipe(tmp_path_factory):
    return nag_pipelines.sd(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def sdxl_pipe(tmp_path_factory):
    return nag_pipelines.sdxl(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("scale", [1.0, 7.0])
@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_each_method_acts_from_the_first_step(request, method, kind, scale):
    pipe = request.getfixturevalue(f"{kind}_pipe")
    plain = draw(pipe, guidance_scale=scale)
    with guide(pipe, negative="glasses", **ONE[method]) as run:
        image = draw(pipe, guidance_scale=scale)
    assert list(run.methods) == [method] and run.report is run.methods[method] is run.reports[-1]
    assert run.report.acted and run.report.guided_steps == [1, 2, 3, 4] and not run.report.warnings
    assert not np.array_equal(image, plain)
    assert hooks(pipe) + len(pipe.unet._forward_hooks) == 0
    assert np.array_equal(draw(pipe, guidance_scale=scale), plain)


def test_all_methods_each_in_its_own_window(sd_pipe):
    windows = {"nag_pag_start": 0.4, "tpg_end": 0.4, "pag_start": 0.2, "pag_end": 0.4, "three_way_start": 0.7}
    on = {"scale": 5, "nag_pag_scale": 3, "tpg_scale": 3, "pag_scale": 3, "three_way_scale": 4}
    with guide(sd_pipe, negative="glasses", **on, **windows) as run:
        draw(sd_pipe, guidance_scale=5.0)
    steps = {method: report.guided_steps for method, report in run.methods.items()}
    assert steps == {
        "NAG": [1, 2, 3, 4], "NAG-PAG": [3, 4], "TPG": [1, 2], "PAG": [2], "three-way": [4],
    }  # fmt: skip
    assert all(report.acted for report in run.methods.values()) and run.report.method == "NAG"


def test_outside_a_methods_window_the_pictures_are_the_same(sd_pipe):
    seen = []

    def watch(pipe, step, t, kwargs):
        seen.append(kwargs["latents"].clone())
        return kwargs

    draw(sd_pipe, callback_on_step_end=watch)
    with guide(sd_pipe, **ONE["TPG"], tpg_start=0.4):
        draw(sd_pipe, callback_on_step_end=watch)
    same = [torch.equal(a, b) for a, b in zip(seen[:4], seen[4:], strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_batch_is_each_image_as_alone(sd_pipe, method):
    with guide(sd_pipe, negative=["glasses", "flowers"], **ONE[method]):
        together = draw(sd_pipe, ["a nerd", "a hat"], guidance_scale=4.0)
    for i, (prompt, negative) in enumerate((("a nerd", "glasses"), ("a hat", "flowers"))):
        with guide(sd_pipe, negative=negative, **ONE[method]):
            alone = draw(sd_pipe, prompt, seed=i, guidance_scale=4.0)
        np.testing.assert_allclose(together[i], alone[0], atol=2e-4)


def test_a_seed_reproduces_tpg_and_another_does_not(sd_pipe):
    def once(seeds=None):
        with guide(sd_pipe, seeds=seeds, **ONE["TPG"]):
            return draw(sd_pipe)

    torch.manual_seed(1)
    first = once()
    torch.manual_seed(2)  # the global generator plays no part
    assert np.array_equal(first, once())
    assert np.array_equal(once([5]), once([5])) and not np.array_equal(once([5]), once([6]))


def test_tpg_alone_switches_cfg_off_in_its_steps(sd_pipe):
    seen = []

    def watch(pipe, step, t, kwargs):
        seen.append(pipe.guidance_scale)
        return kwargs

    with guide(sd_pipe, **ONE["TPG"], tpg_mode="alone", tpg_start=0.2, tpg_end=0.5) as run:
        draw(sd_pipe, guidance_scale=5.0, callback_on_step_end=watch)
    assert seen == pytest.approx([5, 1, 1, 5], abs=1e-5) and sd_pipe.guidance_scale == 5
    assert run.report.guided_steps == [2, 3]


def test_tpg_alone_is_tpg_at_cfg_one(sd_pipe):
    with guide(sd_pipe, **ONE["TPG"], tpg_mode="alone"):
        alone = draw(sd_pipe, guidance_scale=5.0)
    with guide(sd_pipe, **ONE["TPG"]):
        plain = draw(sd_pipe, guidance_scale=1.0)
    np.testing.assert_allclose(alone, plain, atol=1e-4)


def test_an_empty_negative_to_be_skipped_leaves_the_other_methods(sd_pipe):
    with (
        pytest.warns(NagWarning, match="^NAG: nothing is guided"),
        guide(sd_pipe, empty_negative="skip", tpg_scale=3, three_way_scale=3) as run,
    ):
        draw(sd_pipe)
    acted = {method: report.acted for method, report in run.methods.items()}
    assert acted == {"NAG": False, "TPG": True, "three-way": False}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tpg_scale": 3, "tpg_layers": "d9"}, "tpg_layers: d9"),
        ({"pag_scale": 3, "pag_layers": "*.attn2"}, "pag_layers: .* matches nothing"),
        ({"pag_scale": 3, "pag_heads": "0,99"}, "pag_heads: 99 does not exist in m0"),
        ({"nag_pag_scale": 3, "nag_pag_heads": "3-1"}, "nag_pag_heads: '3-1' cannot be read"),
        ({"nag_pag_scale": 3, "nag_pag_layers": "x"}, "nag_pag_layers: 'x'"),
    ],
)
def test_what_does_not_exist_is_named(sd_pipe, options, words):
    with pytest.raises(LayerError, match=words), guide(sd_pipe, **OFF, **options):
        pass
    assert hooks(sd_pipe) == 0
