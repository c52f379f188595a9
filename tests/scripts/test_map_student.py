"""On the student that ships: away from "glasses", guidance acts on the face, around the eyes more than elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from front_helpers import script_of
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    from extras.studio.engine import Engine

    return Engine(
        ROOT / "models", ROOT, tmp_path_factory.mktemp("student"), ckpt=ROOT / "models/doodle-student.safetensors"
    ).load()


def pictures(student, nag):
    args = student.default_script_args("txt2img")
    args[script_of(student).args_from] = nag
    fields = {
        "prompt": "a nerd", "steps": 4, "width": 128, "height": 128, "seed": 100, "batch_size": 6, "cfg_scale": 1,
        "sampler_name": "Euler", "scheduler": "SGM Uniform", "do_not_save_samples": True, "do_not_save_grid": True,
    }  # fmt: skip
    return student.txt2img(fields, args, is_api=True)


def test_glasses_are_changed_where_they_are(student, monkeypatch):
    from extras.doodle import detect
    from extras.nag.ui import gallery

    drawn = []
    monkeypatch.setattr(gallery, "heatmap", lambda *given: drawn.append(given) or Image.new("RGB", (1, 1)))
    plain = pictures(student, False)
    guided = pictures(student, {"negative": "glasses", "scale": 5, "map": True})
    assert len(drawn) == 6 and len(guided.images) == 12
    ratios = []
    for untreated, treated, (_, grid, (low, high)) in zip(plain.images, guided.images, drawn, strict=False):
        before, after = np.asarray(untreated), np.asarray(treated)
        assert detect.has(before, "glasses") and not detect.has(after, "glasses")
        eyes = detect.region(before, "glasses")
        heat = np.asarray(Image.fromarray((grid - low) / (high - low)).resize((128, 128), Image.Resampling.BICUBIC))
        ratios.append(heat[eyes].mean() / heat[~eyes].mean())
    assert min(ratios) > 1.1 and np.mean(ratios) > 1.5, ratios
