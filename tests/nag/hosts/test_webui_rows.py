"""Roles of rows, however an evaluation is cut into calls."""

from hypothesis import given
from hypothesis import strategies as st

from extras.nag.hosts.webui.rows import RowCounter


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.lists(st.integers(1, 5), min_size=1, max_size=30))
def test_each_conditional_row_once_with_its_image(parts, cuts):
    conds, images, row = [], [], 0
    for image, count in enumerate(parts):
        conds.append([(row + i, 1.0) for i in range(count)])
        images += [image] * count
        row += count
    counter = RowCounter()
    counter.begin(conds)
    total, done, seen = row + len(parts), 0, []
    for cut in [*cuts, total]:
        size = min(cut, total - done)
        seen += [(done + r, image) for r, image in counter.take(size)]
        done += size
    assert seen == list(enumerate(images))


def test_a_call_nobody_announced_has_no_conditional_rows():
    counter = RowCounter()
    assert counter.take(2) == []
    counter.begin([[(0, 1.0)]])
    assert counter.take(2) == [(0, 0)]
    assert counter.take(2) == []
