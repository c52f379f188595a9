"""`nagtime.py models`: into a WebUI's folders and out again, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from extras.studio.commands import models


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A models folder like ours, with stand-ins for the weights and our real yaml."""
    folder = tmp_path / "ours"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "Lora").mkdir()
    (folder / "Lora" / models.LORA).write_bytes(b"low rank")
    for name in models.NAMES:
        (folder / f"{name}.safetensors").write_bytes(name.encode() * 100)
        (folder / f"{name}.yaml").write_bytes((models.MODELS / f"{name}.yaml").read_bytes())
    for name in models.ENCODER_FILES:
        (folder / "tokenizer" / name).write_text(name)
    return folder


@pytest.fixture
def webui(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a webui"
    for name in models.WANTED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (folder / "models" / "Stable-diffusion").mkdir(parents=True)
    (folder / "models" / "Stable-diffusion" / "theirs.safetensors").write_bytes(b"theirs")
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_in_and_out_leaves_the_folder_as_it_was(source, webui):
    before = tree(webui)
    models.copy(webui, source)
    assert (webui / "models/Stable-diffusion/doodle-student.safetensors").read_bytes() == b"doodle-student" * 100
    models.remove(webui)
    assert tree(webui) == before


def test_the_lora_goes_where_there_is_a_folder_for_it(source, webui):
    (webui / "models" / "Lora").mkdir()
    before = tree(webui)
    models.copy(webui, source)
    assert (webui / "models" / "Lora" / models.LORA).read_bytes() == b"low rank"
    models.remove(webui)
    assert tree(webui) == before


def test_the_yaml_names_the_copied_text_encoder(source, webui):
    models.copy(webui, source)
    config = yaml.safe_load((webui / "models/Stable-diffusion/doodle-base.yaml").read_text("utf-8"))
    folder = Path(config["model"]["params"]["cond_stage_config"]["params"]["version"])
    assert folder.is_absolute() and sorted(p.name for p in folder.iterdir()) == sorted(models.ENCODER_FILES)
    ours = yaml.safe_load((source / "doodle-base.yaml").read_text("utf-8"))
    config["model"]["params"]["cond_stage_config"] = ours["model"]["params"]["cond_stage_config"]
    assert config == ours, "nothing else was changed"


def test_twice_is_as_once(source, webui):
    models.copy(webui, source)
    once = tree(webui)
    models.copy(webui, source)
    assert tree(webui) == once


def test_a_newer_model_replaces_the_one_put_there(source, webui):
    models.copy(webui, source)
    (source / "doodle-base.safetensors").write_bytes(b"newer")
    models.copy(webui, source)
    assert (webui / "models/Stable-diffusion/doodle-base.safetensors").read_bytes() == b"newer"


def test_a_file_that_is_not_ours_is_never_overwritten(source, webui):
    theirs = webui / "models/Stable-diffusion/doodle-base.safetensors"
    theirs.write_bytes(b"somebody's own")
    before = tree(webui)
    with pytest.raises(models.ModelsError, match=r"doodle-base\.safetensors exists and is not ours"):
        models.copy(webui, source)
    assert tree(webui) == before


def test_undo_leaves_what_was_changed_since_and_says_so(source, webui):
    models.copy(webui, source)
    changed = webui / "models/Stable-diffusion/doodle-base.yaml"
    changed.write_text("changed")
    lines = models.remove(webui)
    assert changed.read_text() == "changed" and any("it was changed since" in line for line in lines)
    assert not (webui / "models/Stable-diffusion/doodle-student.safetensors").exists()


def test_a_manifest_that_points_outside_removes_nothing_there(source, webui, tmp_path):
    outside = tmp_path / "precious"
    outside.write_text("keep")
    models.copy(webui, source)
    manifest = webui / "models/Stable-diffusion" / models.MANIFEST
    manifest.write_text('{"files": {"../precious": "%s"}}' % models._sha256(b"keep"))  # noqa: UP031
    models.remove(webui)
    assert outside.read_text() == "keep"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda w: (w / "webui.py").unlink(), r"is not a WebUI: webui\.py not found"),
        (lambda w: (w / "modules_forge").mkdir(), "is of the Forge family"),
    ],
)
def test_what_is_not_an_a1111_is_refused(webui, capsys, spoil, told):
    spoil(webui)
    before = tree(webui)
    assert models.main(["--webui", str(webui)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(models.ModelsError, match=told):
        models.check_webui(webui)
    assert tree(webui) == before


def test_nothing_to_undo_is_said(webui, capsys):
    assert models.main(["--webui", str(webui), "--undo"]) == 1
    assert "nothing to undo" in capsys.readouterr().err


def test_incomplete_models_of_ours_are_said_before_anything_is_copied(source, webui):
    (source / "doodle-student.safetensors").unlink()
    before = tree(webui)
    with pytest.raises(models.ModelsError, match=r"doodle-student\.safetensors is missing"):
        models.copy(webui, source)
    assert tree(webui) == before
