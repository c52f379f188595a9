"""The virtual environment: made once, stamped, entered. Standard library only."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STUDIO = ROOT / "extras" / "studio"
LAB = ROOT / "extras" / "lab"
DEFAULT_TORCH_COMMAND = "pip install torch==2.13.0"
FREE_BYTES_WANTED = 3 * 1024**3
"""Torch for the CPU and everything else unpack to about 2 GB."""


class SetupError(Exception):
    """Something the user can mend. The message is one line and says what to do."""


def location() -> Path:
    """The environment's folder: ``.venv`` beside nagtime.py, or NAGTIME_VENV."""
    return Path(os.environ.get("NAGTIME_VENV") or ROOT / ".venv").absolute()


def python_of(venv: Path) -> Path:
    """The interpreter of a virtual environment, on this operating system."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def torch_command() -> str:
    return os.environ.get("TORCH_COMMAND") or DEFAULT_TORCH_COMMAND


def steps(needs: str) -> list[tuple[str, list[str]]]:
    """What to install for 'run', 'lab', 'test' or 'mutants': (what it is, arguments after ``python -m``)."""
    torch = shlex.split(torch_command(), posix=os.name != "nt")
    if torch[:2] != ["pip", "install"]:
        raise SetupError(f"TORCH_COMMAND is {torch_command()!r}; it must begin with 'pip install'")
    pip = ["pip", "install", "-r"]
    todo = [
        ("torch (the large one)", torch),
        ("the packages of the Studio", [*pip, str(STUDIO / "requirements.txt")]),
        (
            "k-diffusion, its samplers only",
            ["pip", "install", "--no-deps", "-r", str(STUDIO / "requirements-nodeps.txt")],
        ),
    ]
    if needs in ("lab", "test", "mutants"):
        todo.append(("the packages of the lab", [*pip, str(LAB / "requirements.txt")]))
    if needs in ("test", "mutants"):
        todo.append(("the test tools", [*pip, str(STUDIO / "requirements-test.txt")]))
    if needs == "mutants":
        todo.append(("the mutation tester", [*pip, str(STUDIO / "requirements-mutants.txt")]))
    return todo


def fingerprint(arguments: Sequence[str]) -> str:
    """Changes when the step, a file it installs from, or the Python does."""
    digest = hashlib.sha256(repr((sys.version_info[:2], list(map(os.path.basename, arguments)))).encode())
    for argument in arguments:
        if argument.endswith(".txt") and os.path.isfile(argument):
            digest.update(Path(argument).read_bytes())
    return digest.hexdigest()


def enter(needs: str, argv: Sequence[str]) -> None:
    """Make the environment if it is not there yet and continue inside it: returns only when already inside."""
    venv = location()
    todo = [(what, args) for what, args in steps(needs) if not _stamped(venv, args)]
    if todo:
        _build(venv, todo)
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    command = [str(python_of(venv)), str(ROOT / "nagtime.py"), *argv]
    sys.stdout.flush()
    if os.name == "nt":  # execv returns to the shell at once there
        try:
            raise SystemExit(subprocess.run(command).returncode)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    os.execv(command[0], command)


def _stamp_file(venv: Path) -> Path:
    return venv / "nagtime-installed.txt"


def _stamped(venv: Path, arguments: Sequence[str]) -> bool:
    stamp = _stamp_file(venv)
    return python_of(venv).exists() and stamp.is_file() and fingerprint(arguments) in stamp.read_text("utf-8").split()


def _build(venv: Path, todo: list[tuple[str, list[str]]]) -> None:
    started = time.monotonic()
    python = python_of(venv)
    if not python.exists():
        _check_disk(venv)
        print(
            f"Setting up in {venv} (once, some minutes; torch is the large part of the download)",
            flush=True,
        )
        _make_venv(venv)
    log = venv / "nagtime-setup.log"
    for number, (what, arguments) in enumerate(todo, 1):
        _install(python, f"[{number}/{len(todo)}] {what}", arguments, log)
        with _stamp_file(venv).open("a", encoding="utf-8") as stamp:
            stamp.write(fingerprint(arguments) + "\n")
    print(f"Set up in {time.monotonic() - started:.0f} s.", flush=True)


def _check_disk(venv: Path) -> None:
    free = shutil.disk_usage(venv.parent if venv.parent.exists() else ROOT).free
    if free < FREE_BYTES_WANTED:
        raise SetupError(
            f"{free / 1024**3:.1f} GB free at {venv.parent}, and the set-up wants "
            f"{FREE_BYTES_WANTED / 1024**3:.0f} GB: make room, or name another place with NAGTIME_VENV"
        )


def _make_venv(venv: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        if "ensurepip" in done.stdout:
            raise SetupError(
                "this Python cannot make virtual environments: install its venv package "
                f"(Debian, Ubuntu: apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv) and start again"
            )
        raise SetupError(f"no virtual environment at {venv}: {_last_line(done.stdout)}")


def _install(python: Path, what: str, arguments: list[str], log: Path) -> None:
    """One pip run, its output in the log; a line that counts the seconds on a terminal."""
    command = [str(python), "-m", *arguments, "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    live = sys.stdout.isatty()
    began = time.monotonic()
    print(what, end="" if live else "\n", flush=True)
    with log.open("a", encoding="utf-8", errors="replace") as out:
        out.write(f"\n$ {' '.join(command)}\n")
        out.flush()
        offset = out.tell()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if live:
                    print(f"\r{what} … {time.monotonic() - began:.0f} s ", end="", flush=True)
        except BaseException:
            process.kill()
            process.wait()
            raise
    if live:
        print(flush=True)
    if process.returncode:
        raise SetupError(_explain(what, _tail(log, offset), log))


def _tail(log: Path, offset: int) -> str:
    with log.open("rb") as f:
        f.seek(offset)
        return f.read().decode("utf-8", "replace")


def _explain(what: str, output: str, log: Path) -> str:
    low = output.lower()
    if "no space left" in low:
        why = "the disk is full: make room and start again, it goes on where it stopped"
    elif any(
        s in low for s in ("failed to establish", "temporary failure in name", "connection", "timed out", "max retries")
    ):
        why = (
            "the package index cannot be reached: check the network (or pip's proxy and index settings) and start again"
        )
    elif "no matching distribution" in low or "could not find a version" in low:
        why = (
            "there is no such package for this Python and system: try another Python (3.10 to 3.13), "
            "and for torch set TORCH_COMMAND to the line pytorch.org gives for your machine"
        )
    else:
        why = _last_line("\n".join(line for line in output.splitlines() if "error" in line.lower()) or output)
    return f"{what} could not be installed: {why}. pip's own words: {log}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no message"
