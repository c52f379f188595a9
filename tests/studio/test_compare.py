"""A guided picture beside its unguided twin: drawn when asked for, once, and of the same settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

VALUES = {
    "prompt": "a nerd", "negative_prompt": "", "steps": 2, "sampler_name": "Euler", "scheduler": "Automatic",
    "cfg_scale": 1, "width": 64, "height": 64, "seed": 3, "n_iter": 1, "batch_size": 1,
}  # fmt: skip


class Counting:
    """An engine that counts what is drawn."""

    def __init__(self, engine):
        self.engine, self.drawn = engine, []

    def txt2img(self, values, script_args):
        self.drawn.append(script_args)
        return self.engine.txt2img(values, script_args)

    def img2img(self, values, script_args):
        self.drawn.append(script_args)
        return self.engine.img2img(values, script_args)

    def __getattr__(self, name):
        return getattr(self.engine, name)


@pytest.fixture
def made(engine, tmp_path):
    """A guided run with one picture; the guidance's own arguments are the recording script's."""
    from extras.studio.page.compare import Made

    script = engine.runner("txt2img").alwayson_scripts[0]
    args = list(engine.default_script_args("txt2img"))
    args[script.args_from] = True
    file = tmp_path / "guided.png"
    Image.new("RGB", (64, 64), "teal").save(file)
    own = range(script.args_from, script.args_to)
    return Made("txt2img", "alpha", VALUES, tuple(args), own, (str(file),))


def press(engine, shown, title="alpha", chosen=0):
    """(message, progress, slider, gallery, button, shown) at the end."""
    from extras.studio.page.compare import press

    return list(press(engine, title, shown, chosen))[-1]


def test_the_twin_is_drawn_once_with_guidance_switched_off(engine, made):
    from extras.studio.page.compare import ASK, BACK, Shown

    counting = Counting(engine)
    message, _, slider, gallery, button, shown = press(counting, Shown().after(made))
    assert message == "" and slider["visible"] and not gallery["visible"] and button["value"] == BACK
    plain, guided = slider["value"]
    assert guided == made.files[0]
    alone = engine.txt2img(dict(VALUES), list(made.unguided().args)).images[0]
    assert np.array_equal(np.asarray(Image.open(plain)), np.asarray(alone))
    assert [args[made.own[0]] for args in counting.drawn] == [False]

    _, _, slider, gallery, button, shown = press(counting, shown)
    assert not slider["visible"] and gallery["visible"] and button["value"] == ASK and not shown.open
    slider = press(counting, shown)[2]
    assert slider["value"] == (plain, guided) and len(counting.drawn) == 1


def test_the_last_unguided_picture_is_the_twin_where_it_is_one(engine, made):
    from extras.studio.page.compare import Shown

    plain = replace(made.unguided(), files=("plain.png",))
    counting = Counting(engine)
    slider = press(counting, Shown().after(plain).after(made))[2]
    assert slider["value"] == ("plain.png", made.files[0]) and counting.drawn == []


def test_a_run_is_another_with_another_setting_picture_or_model(made):
    plain = made.unguided()
    own = list(plain.args)
    own[plain.own[-1]] = "other settings of guidance, which is off"
    assert plain.same(replace(plain, args=tuple(own)))
    picture, other = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), (0, 0, 1))
    for changed in ({"seed": 4}, {"prompt": "a king"}, {"init_images": [picture]}):
        assert not plain.same(replace(plain, values={**VALUES, **changed})), changed
    assert not plain.same(replace(plain, model="beta")) and not plain.same(None)
    of = [replace(plain, values={**VALUES, "init_images": [p]}) for p in (picture, picture.copy(), other)]
    assert of[0].same(of[1]) and not of[0].same(of[2])


def test_a_map_has_no_twin_and_another_model_draws_none(engine, made):
    from extras.studio.page.compare import Shown

    plain = replace(made.unguided(), files=("plain.png",))
    shown = Shown().after(plain).after(replace(made, files=(*made.files, "map.png")))
    assert press(engine, shown, chosen=1)[2]["value"] == ("plain.png", made.files[0])
    message = press(Counting(engine), Shown().after(made), title="beta")[0]
    assert "alpha" in message and "beta" in message and "generate it again" in message


def test_of_img2img_too(engine, made):
    from extras.studio.page.compare import Shown

    start = Image.new("RGB", (64, 64), "olive")
    script = engine.runner("img2img").alwayson_scripts[0]
    args = list(engine.default_script_args("img2img"))
    args[script.args_from] = True
    values = {**VALUES, "init_images": [start], "denoising_strength": 0.5, "resize_mode": 0}
    own = range(script.args_from, script.args_to)
    guided = replace(made, tab="img2img", values=values, args=tuple(args), own=own)
    counting = Counting(engine)
    plain, _ = press(counting, Shown().after(guided))[2]["value"]
    alone = engine.img2img(dict(values), list(guided.unguided().args)).images[0]
    assert np.array_equal(np.asarray(Image.open(plain)), np.asarray(alone)) and len(counting.drawn) == 1
