"""Roles of rows, however an evaluation is cut into calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extras.nag.hosts.webui.rows import RowCounter, chunk_rows


@st.composite
def evaluations(draw):
    """(conds_list, image of each row of the evaluation or None, the host's cuts)."""
    parts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    conds, images, row = [], [], 0
    for image, count in enumerate(parts):
        conds.append([(row + i, 1.0) for i in range(count)])
        images += [image] * count
        row += count
    images += [None] * len(parts)
    cuts, left = [], len(images)
    while left:
        cuts.append(draw(st.integers(1, left)))
        left -= cuts[-1]
    return conds, images, cuts


def expected(images):
    return [(row, image) for row, image in enumerate(images) if image is not None]


@given(evaluations(), st.data())
def test_each_conditional_row_with_its_image(evaluation, data):
    """However the host cuts the evaluation, and whatever is made of a call: one, one per part, or tiles at once."""
    conds, images, cuts = evaluation
    counter = RowCounter()
    counter.begin(conds)
    for cut in cuts:
        mine, images = images[:cut], images[cut:]
        counter.host_call(cut)
        how = data.draw(st.sampled_from(["whole", "parts", "tiles"]))
        if how == "whole":
            assert counter.take(cut) == expected(mine)
        elif how == "tiles":
            for tiles in (3, 3, 1):
                assert counter.take(tiles * cut) == expected(mine * tiles)
        else:
            first = data.draw(st.integers(1, cut))
            assert counter.take(first) == expected(mine[:first])
            if first < cut:
                assert counter.take(cut - first) == expected(mine[first:])


def test_what_fits_no_call_is_refused():
    counter = RowCounter()
    with pytest.raises(ValueError, match="2 rows; allowed: a part of the host's 0"):
        counter.take(2)
    counter.begin([[(0, 1.0)]])
    counter.host_call(2)
    with pytest.raises(ValueError, match="3 rows"):
        counter.take(3)
    assert counter.take(1) == [(0, 0)]
    with pytest.raises(ValueError, match="2 rows"):
        counter.take(2)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=5), st.integers(1, 4), st.integers(1, 3))
def test_chunks_and_tiles(chunks, images, tiles):
    told = chunk_rows(chunks, images, len(chunks) * images * tiles)
    row = iter(range(10**6))
    want = [(next(row), image, chunk) for _ in range(tiles) for chunk in chunks for image in range(images)]
    assert told == [(number, image) for number, image, chunk in want if chunk == 0]


def test_chunks_that_do_not_come_out_even():
    with pytest.raises(ValueError, match="5 rows; allowed: a multiple of 2 x 2"):
        chunk_rows([1, 0], 2, 5)
