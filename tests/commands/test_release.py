"""The zip of a release: what is committed, all of it, nothing else; and it works where it is unpacked."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from extras.studio.commands import release

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ("metadata.ini", "install.py", "scripts/nag_time.py", "extras/nag/__init__.py", "style.css", "LICENSE")
USE = """
import sys
from pathlib import Path
from extras.studio import server
from extras.studio.engine import Engine
root = Path.cwd().resolve()
engine = Engine(root / "models", root, Path(sys.argv[1])).load()
for name, module in list(sys.modules.items()):
    if name.split(".")[0] in ("extras", "modules") and getattr(module, "__file__", None):
        assert root in Path(module.__file__).resolve().parents, module.__file__
drawn = engine.txt2img({"prompt": "a nerd", "steps": 2, "width": 128, "height": 128, "cfg_scale": 1})
print(engine.model.sd_checkpoint_info.model_name, drawn.images[0].size)
"""


def git(folder: Path, *arguments: str) -> None:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, env={**os.environ, **who})


@pytest.fixture
def small(tmp_path):
    """A repository with a version, a program, and files that are not committed."""
    root = tmp_path / "small"
    (root / "extras" / "nag").mkdir(parents=True)
    (root / release.VERSION_FILE).write_text('VERSION = "7.1"\n')
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "ümlaut name.txt").write_bytes(b"\0\n\xff" * 50)
    (root / ".gitignore").write_text("secret\n")
    git(tmp_path, "init", "-q", str(root))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "all")
    (root / "secret").write_text("not for others")
    (root / "untracked").write_text("nor this")
    return root


def test_the_same_commit_gives_the_same_bytes(small, tmp_path):
    first = release.build(small, tmp_path / "a").read_bytes()
    for path in small.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            os.utime(path, (1, 1))
            path.chmod(0o600)
    (small / "run").write_text("changed since")
    assert release.build(small, tmp_path / "b").read_bytes() == first


def test_what_is_committed_and_nothing_else(small, tmp_path):
    with zipfile.ZipFile(release.build(small, tmp_path)) as archive:
        inside = {info.filename.removeprefix("nag-time-7.1/"): info for info in archive.infolist()}
        assert set(inside) == {".gitignore", "run", "ümlaut name.txt", release.VERSION_FILE}
        assert archive.read(inside["ümlaut name.txt"]) == b"\0\n\xff" * 50
        assert inside["run"].external_attr >> 16 == 0o100755


def test_a_link_is_refused_and_so_is_too_much(small, tmp_path):
    with pytest.raises(release.ReleaseError, match="allowed: 100"):
        release.build(small, tmp_path / "out", most=100)
    assert list((tmp_path / "out").iterdir()) == []
    (small / "link").symlink_to("/etc/passwd")
    git(small, "add", "link")
    git(small, "commit", "-q", "-m", "a link")
    with pytest.raises(release.ReleaseError, match="link is no plain file"):
        release.build(small, tmp_path / "out")


def test_outside_of_a_repository_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert release.main(["--out", str(tmp_path)]) == 1
    assert "not a git repository" in capsys.readouterr().err


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    folder = tmp_path_factory.mktemp("release")
    path = release.build(ROOT, folder)
    assert path.stat().st_size < release.MOST == 60_000_000
    with zipfile.ZipFile(path) as archive:
        assert all(".." not in name.split("/") and not name.startswith("/") for name in archive.namelist())
        assert {name.split("/")[0] for name in archive.namelist()} == {path.stem}
        archive.extractall(folder)
    return folder / path.stem


def test_an_install_from_zip_has_what_a_webui_needs(unpacked):
    assert [name for name in INSTALLED if not (unpacked / name).is_file()] == []
    done = subprocess.run([sys.executable, "install.py"], cwd=unpacked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, "nagtime.py", "--help"], cwd=unpacked, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: python nagtime.py" in done.stdout


def test_the_studio_draws_from_it(unpacked, tmp_path):
    """With its own code and its own model, from no other place."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)], cwd=unpacked, capture_output=True, text=True, timeout=240, env=env
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "doodle-student (128, 128)", done.stderr
