"""Setting up: what is installed, when it is not, and what a user is told."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extras.studio import commands
from extras.studio.commands import environment

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"[a-z0-9-]+==[0-9a-z.]+( ; python_version (<|>=) \"3\.1\d\"( and python_version < \"3\.1\d\")?)?")


FILES = [*sorted(environment.STUDIO.glob("requirements*.txt")), environment.LAB / "requirements.txt"]


@pytest.mark.parametrize("file", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_requirement_is_pinned(file):
    lines = file.read_text("utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#") and not PIN.fullmatch(line)] == []


def test_neither_torch_nor_torchvision_is_a_requirement():
    text = "".join(path.read_text("utf-8") for path in FILES)
    assert not re.search(r"^(torch|torchvision|torchaudio)==", text, re.MULTILINE)


def test_torch_command_is_obeyed(monkeypatch):
    monkeypatch.setenv("TORCH_COMMAND", "pip install torch --index-url 'https://example.org/a b'")
    assert environment.steps("run")[0][1] == ["pip", "install", "torch", "--index-url", "https://example.org/a b"]
    monkeypatch.setenv("TORCH_COMMAND", "conda install pytorch")
    with pytest.raises(environment.SetupError, match="must begin with 'pip install'"):
        environment.steps("run")


def test_testing_needs_everything_that_running_needs(monkeypatch):
    assert environment.steps("mutants")[:-1] == environment.steps("test")
    assert environment.steps("test")[:-1] == environment.steps("lab")
    assert environment.steps("lab")[:-1] == environment.steps("run"), "and who only opens the page gets nothing more"


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """A set-up environment that is not this one; entering it would start it."""
    folder = tmp_path / "venv"
    python = environment.python_of(folder)
    python.parent.mkdir(parents=True)
    python.write_text("")
    monkeypatch.setenv("NAGTIME_VENV", str(folder))
    monkeypatch.setattr(environment, "_install", lambda *a: pytest.fail("installed something"))
    started = []
    monkeypatch.setattr(environment.os, "execv", lambda program, argv: started.append(argv))
    stamps = "".join(environment.fingerprint(args) + "\n" for _, args in environment.steps("run"))
    (folder / "nagtime-installed.txt").write_text(stamps)
    folder_and_starts = (folder, started)
    return folder_and_starts


@pytest.mark.skipif(sys.platform == "win32", reason="there the environment is started as a child")
def test_a_second_start_installs_nothing_and_goes_inside(venv):
    folder, started = venv
    environment.enter("run", ["layers", "--select", "d0"])
    assert started == [[str(environment.python_of(folder)), str(ROOT / "nagtime.py"), "layers", "--select", "d0"]]


def test_only_what_is_missing_is_installed(venv, monkeypatch):
    done = []
    monkeypatch.setattr(environment, "_install", lambda python, what, args, log: done.append(args))
    environment.enter("test", [])
    assert [Path(*Path(args[-1]).parts[-2:]).as_posix() for args in done] == [
        "lab/requirements.txt",
        "studio/requirements-test.txt",
    ]
    done.clear()
    environment.enter("test", [])
    assert done == [], "and that is remembered"


def test_another_torch_command_installs_again(venv, monkeypatch):
    done = []
    monkeypatch.setattr(environment, "_install", lambda python, what, args, log: done.append(args))
    monkeypatch.setenv("TORCH_COMMAND", "pip install torch==9.9")
    environment.enter("run", [])
    assert done == [["pip", "install", "torch==9.9"]]


def test_a_step_that_failed_is_not_remembered(venv, monkeypatch):
    def fail(*args):
        raise environment.SetupError("no network")

    monkeypatch.setattr(environment, "_install", fail)
    for _ in range(2):
        with pytest.raises(environment.SetupError):
            environment.enter("test", [])


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying: Failed to establish a new connection\nERROR: No matching distribution", "network"),
        ("ERROR: Could not find a version that satisfies the requirement torch==2.13.0", "pytorch.org"),
        ("Building wheel\nerror: subprocess-exited-with-error\n", "subprocess-exited-with-error"),
        ("", "no message"),
    ],
)
def test_pips_failure_is_one_line_with_what_to_do(output, told, tmp_path):
    text = environment._explain("torch", output, tmp_path / "log")
    assert told in text and "\n" not in text and str(tmp_path / "log") in text


def test_too_little_room_is_said_before_anything_is_made(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(100, 99, 1)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(environment.SetupError, match="make room"):
        environment._check_disk(tmp_path / "venv")


def test_unknown_commands_name_the_known_ones(capsys):
    assert commands.main(["frobnicate"]) == 2
    told = capsys.readouterr().err
    assert all(name in told for name in commands.COMMANDS if name) and len(told.splitlines()) == 1


def test_every_command_of_the_help_exists():
    for command in commands.COMMANDS.values():
        assert (ROOT / (command.module.replace(".", "/") + ".py")).is_file()


def test_nagtime_starts_without_anything_installed():
    """-I -S: no site-packages. The help and `models` must work there."""
    run = [sys.executable, "-S", str(ROOT / "nagtime.py")]
    assert "usage: python nagtime.py" in subprocess.run([*run, "--help"], capture_output=True, text=True).stdout
    done = subprocess.run([*run, "models", "--webui", "/nowhere"], capture_output=True, text=True)
    assert done.returncode == 1 and "is not a WebUI" in done.stderr


def test_no_top_level_file_shadows_a_webuis_modules():
    taken = {"launch", "webui", "modules", "modules_forge", "ldm_patched", "backend", "shared", "scripts_base"}
    assert {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}.isdisjoint(taken)
