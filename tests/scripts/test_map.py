"""The map behind the pictures: where guidance acted, only when asked for, and nothing else is disturbed."""

import itertools

import numpy as np
import pytest
from front_helpers import script_of
from PIL import Image

from extras.nag.ui import options as page

GLASSES = {"negative": "glasses", "scale": 8}


def test_a_map_per_image_behind_the_pictures(draw):
    plain, mapped = draw(GLASSES, batch_size=2, n_iter=2), draw({**GLASSES, "map": True}, batch_size=2, n_iter=2)
    assert mapped.same(plain) and len(plain.images) == 4 and not plain.extra
    assert len(mapped.images) == 8 and [i.size for i in mapped.extra] == [(64, 64 + 26)] * 4
    assert mapped.images[:4] != mapped.extra and mapped.first == plain.first
    assert len(mapped.texts) == 8
    for i in range(4):  # what a picture says of itself is as before, plus that a map was asked for
        assert mapped.texts[i].replace("NAG map: True, ", "") == plain.texts[i]
        assert mapped.texts[4 + i] == mapped.texts[i] == mapped.extra[i].info["parameters"]
    pictures = [np.asarray(image) for image in mapped.extra]
    assert len({image.tobytes() for image in pictures}) == 4


def test_a_grid_in_front_stays_in_front(draw):
    mapped = draw({**GLASSES, "map": True}, batch_size=2, do_not_save_grid=False)
    assert mapped.first == 1 and len(mapped.images) == 5 == len(mapped.texts)
    assert [image.size for image in mapped.images[1:3]] == [(64, 64)] * 2
    assert [image.size for image in mapped.images[3:]] == [(64, 90)] * 2
    assert mapped.texts[3:] == mapped.texts[1:3]


@pytest.mark.parametrize("nag", [None, {"scale": 99, "map": True}, {"map": True, "enabled": False}])
def test_no_map_where_nothing_is_guided(draw, nag):
    picture = draw(nag)
    assert len(picture.images) == 1 and "no map" not in picture.comments


def test_a_window_without_steps_has_none(draw):
    picture = draw({**GLASSES, "map": True, "start": 0.9, "end": 0.95})
    assert len(picture.images) == 1 and "No step" in picture.comments


def test_masks_between_the_pictures(draw, options):
    """Where the host puts masks between its pictures, texts are fewer than pictures: none is added."""
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    options(return_mask=True)
    fields = {"init_images": [Image.new("RGB", (64, 64), (200, 90, 30))], "mask": mask, "steps": 6, "batch_size": 2}
    plain, mapped = draw(GLASSES, **fields), draw({**GLASSES, "map": True}, **fields)
    assert len(mapped.images) == len(plain.images) + 2 and len(mapped.texts) == len(plain.texts)


def test_hires_has_one_map_of_both_passes(draw):
    fields = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7, "steps": 2}
    mapped = draw({**GLASSES, "map": True}, **fields)
    assert [image.size for image in mapped.images] == [(128, 128), (128, 128 + 26)]


def test_a_script_that_takes_the_pictures_gets_no_map(engine, draw, monkeypatch):
    from modules import processing, scripts

    class Script(scripts.Script):
        args_from = args_to = 10_000

        def run(self, p):
            self.processed = processing.process_images(p)
            return self.processed

    script = Script()
    monkeypatch.setattr(engine.runner("txt2img"), "selectable_scripts", [script])
    args = engine.default_script_args("txt2img")
    args[0], args[script_of(engine).args_from] = 1, {**GLASSES, "map": True}
    fields = {"prompt": "a nerd", "steps": 2, "width": 64, "height": 64, "do_not_save_samples": True}
    engine.txt2img(fields, args)
    assert len(script.processed.images) == 1 and "no map: the script in use" in script.processed.comments
    assert "mean change" in script.processed.comments


@pytest.mark.parametrize("save", [False, True])
def test_saving_is_a_setting(draw, engine, options, save):
    options(**{page.SAVE_MAP: save})
    folder = engine.outputs_dir / "txt2img-images"
    before = set(folder.rglob("*.png"))
    mapped = draw({**GLASSES, "map": True}, do_not_save_samples=False)
    new = sorted(set(folder.rglob("*.png")) - before)
    maps = [path for path in new if path.stem.endswith("-nag-map")]
    assert len(new) == 1 + save and len(maps) == save
    for path in maps:
        saved = Image.open(path)
        assert saved.size == mapped.extra[0].size and saved.info["parameters"] == mapped.texts[0]


def test_trouble_with_the_map_leaves_the_picture_guided(draw, monkeypatch):
    from extras.nag.ui import gallery

    good = draw(GLASSES)
    monkeypatch.setattr(gallery, "heatmap", lambda *_: 1 / 0)
    picture = draw({**GLASSES, "map": True})
    assert picture.same(good) and len(picture.images) == 1
    assert "no map: ZeroDivisionError" in picture.comments and not picture.report["error"]


def test_tiles_are_told(draw, engine, monkeypatch):
    """An extension that cuts the latent into tiles below the sampler."""
    from extras.nag.hosts.webui import session

    sizes = itertools.cycle([(8, 8), (4, 4)])  # of the latent, of the model's input
    monkeypatch.setattr(session, "_size", lambda latent: next(sizes))
    picture = draw({**GLASSES, "map": True})
    assert len(picture.images) == 1 and "no map: the picture is made of tiles" in picture.comments
    assert "NAG warning" in picture.texts[0] and picture.report["calls"]
