"""A Studio with a random doodle model that has loaded this very extension through the host's contract."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from front_helpers import Picture, script_of

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "studio"))  # the maker of random checkpoints


@pytest.fixture(scope="session")
def front_models(tmp_path_factory):
    import compvis

    folder = tmp_path_factory.mktemp("front-models")
    (folder / "tokenizer").symlink_to(ROOT / "models" / "tokenizer")
    compvis.doodle(folder / "alpha.safetensors", seed=0)
    compvis.doodle(folder / "beta.safetensors", seed=5)
    return folder


@pytest.fixture(scope="module")
def engine(front_models, tmp_path_factory):
    from extras.studio.engine import Engine

    ckpt = front_models / "alpha.safetensors"
    return Engine(front_models, ROOT, tmp_path_factory.mktemp("front-out"), ckpt=ckpt).load()


@pytest.fixture
def options(engine):
    """Set host settings for one test: options(batch_cond_uncond=False)."""
    before = dict(engine.opts.data)
    yield engine.opts.data.update
    engine.opts.data.clear()
    engine.opts.data.update(before)


@pytest.fixture
def draw(engine):
    """draw({"negative": "glasses"}, **fields): a small picture; without a first argument the panel is untouched."""

    def run(nag=None, *, args=None, **fields):
        fields = {
            "prompt": "a nerd", "steps": 4, "width": 64, "height": 64, "seed": 7, "cfg_scale": 1,
            "sampler_name": "Euler", "scheduler": "Automatic", "do_not_save_samples": True,
            "do_not_save_grid": True, **fields,
        }  # fmt: skip
        tab = "img2img" if "init_images" in fields else "txt2img"
        script_args = engine.default_script_args(tab)
        first = script_of(engine, tab).args_from
        values = [nag] if nag is not None else list(args or [])
        script_args[first : first + len(values)] = values
        job = engine.img2img if tab == "img2img" else engine.txt2img
        return Picture(job(fields, script_args, is_api=True))

    return run
