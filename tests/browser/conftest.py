"""A Studio in a process of its own, and its page, which may talk to nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from extras.studio.pictures.browser import ready

ROOT = Path(__file__).resolve().parents[2]
START = "import sys; from extras.studio.commands.web import main; sys.exit(main(sys.argv[1:]))"
READY_SECONDS = 240
"""Generous: a loaded machine must not fail this; benchmarks/startup.py measures."""


@dataclass
class Studio:
    """``url``; ``log``: what the server has printed so far; ``outputs``: where its pictures go."""

    url: str
    outputs: Path
    process: subprocess.Popen
    log: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    command = [sys.executable, "-u", "-c", START, "--port", "0", "--no-browser", "--outputs", str(outputs)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    running = Studio("", outputs, process)
    reader = threading.Thread(target=lambda: running.log.extend(iter(process.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end and process.poll() is None:
            found = re.search(r"http://127\.0\.0\.1:\d+", "".join(running.log))
            if found:
                running.url = found[0]
                break
            time.sleep(0.1)
        assert running.url, f"the Studio did not start:\n{''.join(running.log)}"
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def page(browser, studio):
    """The Studio's page, loaded. Afterwards: nothing was asked of another machine, and no script failed."""
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    foreign: list[str] = []
    broken: list[str] = []
    opened.on("request", lambda r: None if r.url.startswith((studio.url, "data:", "blob:")) else foreign.append(r.url))
    opened.on("pageerror", lambda error: broken.append(str(error)))
    opened.goto(studio.url)
    ready(opened)
    yield opened
    context.close()
    assert not foreign, f"the page asked other machines: {foreign}"
    assert not broken, f"scripts of the page failed: {broken}"
