"""A compiled network is guided as an uncompiled one, and where it is not guided it runs compiled, to the bit."""

import nag_pipelines
import numpy as np
import pytest
import torch

from extras.nag import guide
from extras.nag.hosts.diffusers import NagWarning

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


RAN = []  # an entry for each call of compiled code


def counting(graph, inputs):
    def run(*args):
        RAN.append(1)
        return graph(*args)

    return run


HOW = {"backend": counting, "dynamic": False}


def wrapped(pipe):
    pipe.unet = torch.compile(pipe.unet, **HOW)


def in_place(pipe):
    pipe.unet.compile(**HOW)


def forward(pipe):
    pipe.unet.forward = torch.compile(pipe.unet.forward, **HOW)


def blocks(pipe):
    for module in pipe.unet.modules():
        if type(module).__name__ == "BasicTransformerBlock":
            module.compile(**HOW)


@pytest.fixture(scope="module", params=[wrapped, in_place, forward, blocks], ids=lambda way: way.__name__)
def pipes(request, tmp_path_factory):
    """(a pipeline, the same one compiled)."""
    torch._dynamo.reset()
    plain, other = (nag_pipelines.sd(tmp_path_factory.mktemp("tokenizer")) for _ in range(2))
    request.param(other)
    yield plain, other
    torch._dynamo.reset()


def draw(pipe, **more):
    """(picture, calls of compiled code)."""
    RAN.clear()
    options = {"num_inference_steps": 4, "guidance_scale": 1.0, "height": 32, "width": 32, **more}
    image = pipe("a nerd", generator=torch.Generator().manual_seed(0), output_type="np", **options).images
    return image, len(RAN)


@pytest.mark.parametrize(
    "values",
    [{"start": 0.17}, {"nag": False, "tpg_scale": 3, "tpg_end": 0.5}, {"nag_pag_scale": 3, "three_way_scale": 3}],
)
def test_guided_it_is_the_uncompiled_picture(pipes, values):
    plain, other = pipes
    before, ran = draw(other)
    assert ran >= 4, "it is compiled"
    with guide(plain, negative="glasses", scale=5, **values) as run:
        wanted, _ = draw(plain)
    told = pytest.warns(NagWarning, match="the network is compiled")
    with told, guide(other, negative="glasses", scale=5, **values) as same:
        found, ran_guided = draw(other)
    for method, report in run.methods.items():
        assert same.methods[method].guided_steps == report.guided_steps and report.calls
        assert same.methods[method].calls == report.calls
    assert ran_guided == ran // 4 * (4 - len({s for r in run.methods.values() for s in r.guided_steps}))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - before).max() > 1e-5
    after, ran_after = draw(other)
    assert np.array_equal(after, before) and ran_after == ran, "compiled again, and nothing stays"


def test_what_guides_no_step_runs_compiled(pipes):
    _, other = pipes
    before, ran = draw(other)
    with pytest.warns(NagWarning), guide(other, negative="glasses", scale=5, start=0.98, end=0.99):
        after, ran_inside = draw(other)
    assert np.array_equal(after, before) and ran_inside == ran


def test_a_generation_that_fails_leaves_it_compiled(pipes):
    _, other = pipes
    before, ran = draw(other)

    def fail(pipe, step, timestep, tensors):
        raise RuntimeError("a callback")

    with pytest.raises(RuntimeError, match="a callback"), guide(other, negative="glasses", scale=5):
        draw(other, callback_on_step_end=fail)
    after, ran_after = draw(other)
    assert np.array_equal(after, before) and ran_after == ran


def transformer_blocks(model):
    return [*model.transformer_blocks, *model.single_transformer_blocks]


def whole_transformer(pipe):
    pipe.transformer = torch.compile(pipe.transformer, **HOW)


def blocks_in_place(pipe):
    for block in transformer_blocks(pipe.transformer):
        block.compile(**HOW)


def forwards_of_blocks(pipe):
    for block in transformer_blocks(pipe.transformer):
        block.forward = torch.compile(block.forward, **HOW)


@pytest.mark.parametrize("way", [whole_transformer, blocks_in_place, forwards_of_blocks], ids=lambda way: way.__name__)
def test_compiled_transformers_too(way, tmp_path):
    """Their blocks' attention is taken apart while they are guided (joint/shared.py)."""
    torch._dynamo.reset()
    plain, other = (nag_pipelines.flux(tmp_path) for _ in range(2))
    way(other)
    before, ran = draw(other)
    assert ran >= 4
    values = {"negative": "glasses", "scale": 5, "start": 0.3}
    with guide(plain, **values) as run:
        wanted, _ = draw(plain)
    with pytest.warns(NagWarning, match="the network is compiled"), guide(other, **values) as same:
        found, ran_guided = draw(other)
    assert same.report.calls == run.report.calls > 0 and 0 < ran_guided < ran
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - before).max() > 1e-5
    after, ran_after = draw(other)
    assert np.array_equal(after, before) and ran_after == ran, "compiled again, and nothing stays"
    torch._dynamo.reset()
