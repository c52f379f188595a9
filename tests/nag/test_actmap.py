"""Where guidance acted: the change of each token, of its image, averaged over layers and steps."""

import pytest
import torch
from nag_runs import TIMES, each, latents, text
from torch.utils._python_dispatch import TorchDispatchMode

from extras.nag import Run, Settings
from extras.nag.actmap import NO_GRID, TILED, ActMap, grid_of

WHOLE = (16, 16)


def mapped(unet, x, negatives, rows, settings=None, steps=(749,), size=WHOLE, images=None, prepare=None, prompt=None):
    """The map of a run with one model call per step, and the run."""
    prompt = text(*[7] * x.shape[0], seed=1) if prompt is None else prompt
    with Run(settings or Settings(scale=5), unet.model, strict=True) as run:
        run.state.map = actmap = ActMap()
        actmap.whole = WHOLE
        run.begin(TIMES)
        run.set_negative(negatives)
        for t in steps:
            run.step_at(t)
            actmap.expect(rows, size)
            run.call(rows)
            if prepare:
                prepare(run)
            unet(x, t, prompt)
        actmap.next_batch(len({i for _, i in rows}) if images is None else images)
    return actmap, run


def test_a_token_is_its_relative_change():
    actmap = ActMap()
    actmap.whole = (2, 2)
    actmap.expect([(1, 0)], (2, 2))
    z_pos = torch.tensor([[[1.0, -1.0], [2.0, 2.0], [0.0, 0.0], [1.0, 3.0]]])
    out = torch.tensor([[[1.0, 0.0], [2.0, 2.0], [0.0, 0.0], [3.0, 1.0]]])
    actmap.add((1,), out, z_pos)
    actmap.add((1,), z_pos, z_pos)  # a layer that changed nothing counts too
    actmap.next_batch(1)
    assert torch.equal(actmap.grids[0], torch.tensor([[0.5, 0.0], [0.0, 1.0]]) / 2)


def test_every_layer_counts_the_same(unet):
    """Whatever their resolution: the map is the mean over the layers' calls, at the latent's size."""
    whole, run = mapped(unet, latents(1), text(7), each(1))
    assert whole.grids[0].shape == WHOLE and whole.reason == "" and whole.grids[0].min() > 0
    by_layer = [entry["change"] for entry in run.report.per_layer.values()]
    assert whole.grids[0].mean().item() == pytest.approx(sum(by_layer) / len(by_layer), rel=0.1)
    few, _ = mapped(unet, latents(1), text(7), each(1), Settings(scale=5, layers=run.layers[0].name))
    assert not torch.allclose(few.grids[0], whole.grids[0], atol=1e-3)


def test_each_image_as_if_alone(unet):
    x, negatives, prompts = latents(3), text(7, 9, 7), text(7, 7, 7, seed=1)
    both, _ = mapped(unet, x, negatives, each(3), steps=(749, 499), prompt=prompts)
    for i in range(3):
        one = slice(i, i + 1)
        alone, _ = mapped(unet, x[one], negatives[one], [(0, 0)], steps=(749, 499), prompt=prompts[one])
        assert torch.allclose(both.grids[i], alone.grids[0], atol=1e-5)


def test_rows_of_one_image_are_averaged_and_others_left_out(unet):
    """AND has several rows an image; the unconditional rows have no part in it."""
    x = latents(2)
    two, _ = mapped(unet, x, text(7), [(0, 0), (1, 0)])
    first, second = (mapped(unet, x, text(7), [(row, 0)])[0].grids[0] for row in (0, 1))
    assert torch.allclose(two.grids[0], (first + second) / 2, atol=1e-5)
    assert not torch.allclose(first, second, atol=1e-3)


def test_an_image_without_guidance_has_no_map(unet):
    actmap, _ = mapped(unet, latents(2), text(7), [(0, 0)], images=2)
    assert actmap.grids[0] is not None and actmap.grids[1] is None


def test_tiles_are_told(unet):
    actmap, _ = mapped(unet, latents(1), text(7), each(1), size=(8, 8))
    assert actmap.grids == [None] and actmap.reason == TILED


def test_tokens_that_are_no_grid_are_told():
    actmap = ActMap()
    actmap.whole = (4, 4)
    actmap.expect([(0, 0)], (4, 4))
    actmap.add((0,), torch.ones(1, 7, 2), torch.ones(1, 7, 2) / 2)
    actmap.next_batch(1)
    assert actmap.grids == [None] and actmap.reason == NO_GRID


def test_an_extra_prediction_of_another_method_is_not_counted(unet):
    def extra(run):
        run.state.counting = False

    actmap, _ = mapped(unet, latents(1), text(7), each(1), prepare=extra)
    assert actmap.grids == [None]


def test_trouble_with_the_map_is_no_trouble_of_the_guidance(unet, monkeypatch):
    monkeypatch.setattr(torch, "zeros_like", lambda *a, **k: 1 / 0)
    actmap, run = mapped(unet, latents(1), text(7), each(1))
    assert actmap.grids == [None] and "ZeroDivisionError" in actmap.reason and run.report.calls


def test_two_passes_of_different_size():
    actmap = ActMap()
    for size, value in (((2, 2), 0.5), ((4, 4), 1.0)):
        actmap.whole = size
        actmap.expect([(0, 0)], size)
        tokens = size[0] * size[1]
        actmap.add((0,), torch.full((1, tokens, 1), 1 + value), torch.ones(1, tokens, 1))
    actmap.next_batch(1)
    assert torch.allclose(actmap.grids[0], torch.full((4, 4), 0.75))


class Waits(TorchDispatchMode):
    """Operations that wait for the device."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"):
            self.seen.append(function._schema.name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("asked", [False, True])
def test_sampling_never_waits_for_it(unet, asked):
    with Run(Settings(scale=5), unet.model, strict=True) as run:
        run.state.map = ActMap() if asked else None
        run.begin(TIMES)
        run.set_negative(text(7))
        run.step_at(749)
        if asked:
            run.state.map.whole = WHOLE
            run.state.map.expect(each(1), WHOLE)
        run.call(each(1))
        with Waits() as waits:
            unet(latents(1), torch.tensor([749]), text(7, seed=1))
        assert waits.seen == [] and run.report.calls
    assert (run.state.map is None) != asked


@pytest.mark.parametrize(
    ("tokens", "latent", "grid"),
    [
        (256, (16, 16), (16, 16)),
        (64, (16, 16), (8, 8)),
        (1, (16, 16), (1, 1)),
        (33 * 17, (65, 33), (33, 17)),  # halved with rounding up, as a convolution of stride 2 does
        (17 * 9, (65, 33), (17, 9)),
        (6144, (64, 96), (64, 96)),
        (100, (16, 16), None),
        (0, (16, 16), None),
        (4, (0, 0), None),
    ],
)
def test_tokens_become_a_grid(tokens, latent, grid):
    assert grid_of(tokens, latent) == grid
