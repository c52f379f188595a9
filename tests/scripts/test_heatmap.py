"""The drawing of a map over a picture."""

import numpy as np
import pytest
from PIL import Image

from extras.nag.ui.heatmap import heatmap, span_of


def drawn(width=64, height=48, grid=None, span=None):
    grid = np.linspace(0, 1, 16).reshape(4, 4) if grid is None else grid
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))
    return picture, heatmap(picture, grid, span or span_of([grid]))


@pytest.mark.parametrize("size", [(64, 48), (1, 1), (40, 200), (512, 512), (1024, 768)])
def test_as_wide_as_the_picture_with_a_legend_below(size):
    picture, whole = drawn(*size)
    assert whole.width == picture.width and whole.mode == "RGB"
    assert whole.height - picture.height == 26 * max(1, round(size[0] / 512))
    if size[0] >= 40:  # the bar has all colours
        bar = np.asarray(whole)[picture.height + 6]
        assert len(np.unique(bar, axis=0)) > 20


def test_more_change_is_brighter_and_the_picture_stays_visible():
    grid = np.zeros((4, 4))
    grid[:, 2:] = 1.0
    flat = Image.new("L", (64, 64), 60)
    body = np.asarray(heatmap(flat, grid, (0.0, 1.0)))[:64].astype(int).sum(-1)
    assert body[:, 48:].min() > body[:, :16].max()
    black, white = (heatmap(Image.new("L", (64, 64), v), grid, (0.0, 1.0)) for v in (0, 255))
    assert (np.asarray(white)[:64].astype(int) - np.asarray(black)[:64]).min() > 40


def test_one_span_for_a_job_so_that_pictures_compare():
    low, high = np.full((4, 4), 0.2), np.full((4, 4), 0.8)
    span = span_of([low, high])
    assert span == pytest.approx((0.2, 0.8))
    one, other = (np.asarray(drawn(grid=g, span=span)[1])[:48].astype(int).sum() for g in (low, high))
    assert other > one


def test_a_flat_map_is_not_blown_up():
    """A hundredth more or less is noise, not a place."""
    span = span_of([np.full((4, 4), 0.50) + np.eye(4) * 0.005])
    assert span[1] == pytest.approx(0.505) and span[0] == pytest.approx(0.505 * 0.9)
    assert span_of([np.zeros((2, 2))]) == (0.0, 0.0) and drawn(grid=np.zeros((2, 2)))[1].size
