"""guide() lowers the pipeline's CFG scale in the cooldown, and gives back what it took and nothing else."""

import nag_pipelines
import pytest
from test_guide import draw

from extras.nag import guide

COOL = {"start": 0.17, "end": 0.5, "cooldown": 0.5}  # of four steps the last one is at 0.8 of the scale


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return nag_pipelines.sd(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("asked", [4.0, 3.0])
def test_the_next_generation_has_the_scale_it_asks_for(pipe, asked):
    """Be it the very one to which the cooldown had lowered the last step of the one before."""
    seen = []

    def watch(pipe, step, t, kwargs):
        seen.append(pipe.guidance_scale)
        return kwargs

    with guide(pipe, negative="glasses", **COOL):
        draw(pipe, guidance_scale=5.0)
        draw(pipe, guidance_scale=asked, callback_on_step_end=watch)
    assert seen == pytest.approx([asked, asked, asked, 0.8 * asked]) and pipe.guidance_scale == asked


def test_a_callback_may_set_the_very_scale_of_the_cooldown(pipe):
    def four(pipe, step, t, kwargs):
        pipe._guidance_scale = 4.0
        return kwargs

    with guide(pipe, negative="glasses", **COOL):
        draw(pipe, guidance_scale=5.0, callback_on_step_end=four)
    assert pipe.guidance_scale == 4
