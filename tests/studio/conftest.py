"""A Studio with a random doodle model and an extension that records what is called."""

from __future__ import annotations

import shutil
from pathlib import Path

import compvis
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "models" / "tokenizer"


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory):
    """A models folder with two random doodles and the tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(TOKENIZER, folder / "tokenizer")
    compvis.doodle(folder / "alpha.safetensors", seed=0)
    compvis.doodle(folder / "beta.safetensors", seed=5)
    return folder


@pytest.fixture(scope="session")
def extension_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ext") / "recording-extension"
    (folder / "scripts").mkdir(parents=True)
    (folder / "recorder_helper.py").write_text("ANSWER = 42\n")
    shutil.copy(Path(__file__).with_name("recording_script.py"), folder / "scripts" / "recorder.py")
    (folder / "scripts" / "broken.py").write_text("raise RuntimeError('this script cannot be loaded')\n")
    return folder


@pytest.fixture(scope="module")
def engine(models_dir, extension_dir, tmp_path_factory):
    from extras.studio.engine import Engine

    return Engine(
        models_dir, extension_dir, tmp_path_factory.mktemp("outputs"), ckpt=models_dir / "alpha.safetensors"
    ).load()


@pytest.fixture
def recorder(engine):
    """The recording script's module, emptied; its callbacks and misbehaviour are undone afterwards."""
    module = next(
        d.module for d in __import__("modules.scripts").scripts.scripts_data if d.script_class.__name__ == "Recorder"
    )
    module.reset()
    yield module
    module.reset()


@pytest.fixture
def options(engine):
    """Set host settings for one test: options(batch_cond_uncond=False)."""
    before = dict(engine.opts.data)

    def change(**values):
        for key, value in values.items():
            assert key in engine.opts.data_labels, key
            engine.opts.data[key] = value

    yield change
    engine.opts.data.update(before)


@pytest.fixture
def draw(engine):
    """draw(**fields) runs a small txt2img (or img2img when init_images is given) and returns Processed."""

    def run(script_args=None, **fields):
        fields = {
            "prompt": "a nerd",
            "steps": 2,
            "width": 64,
            "height": 64,
            "seed": 7,
            "cfg_scale": 1,
            "sampler_name": "Euler",
            "scheduler": "Simple",
            "do_not_save_samples": True,
            "do_not_save_grid": True,
            **fields,
        }
        return (engine.img2img if "init_images" in fields else engine.txt2img)(fields, script_args)

    return run
