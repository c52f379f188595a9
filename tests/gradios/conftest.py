"""The panel in three gradios, each in an environment of its own, made here once and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SCRIPTS = sorted((HERE.parents[1] / "javascript").glob("nag_time*.js"))
STYLE = HERE.parents[1] / "style.css"
PINS = HERE.parents[1] / "extras" / "studio" / "requirements.txt"
GRADIOS = {
    "3.41.2": ["--no-deps", "-r", str(HERE / "requirements-3.41.2.txt")],
    "4.40.0": ["--no-deps", "-r", str(HERE / "requirements-4.40.0.txt")],
    "6": ["gradio", "-c", str(PINS)],  # the Studio's own
}
OLD = ("3.41.2", "4.40.0")
NOT_FOR = (3, 13)
"""From this Python on, the old ones may fail to install (they pin a markupsafe without a build for it)."""
INSTALL_SECONDS = 900
READY_SECONDS = 120


class Environment:
    """``python`` of an environment that has this gradio, once ready() has returned. It is being made meanwhile."""

    def __init__(self, version: str, kept: Path):
        self.version, self.wanted = version, GRADIOS[version]
        told = version + sys.version + "".join(Path(a).read_text() for a in self.wanted if a.endswith(".txt"))
        self.folder = kept / f"{version}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.process: subprocess.Popen | None = None
        if not (self.folder / "ready").is_file():
            shutil.rmtree(self.folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.folder)], check=True)
            pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
            install = [*pip, "install", "-q", "--no-compile", "--prefer-binary", *self.wanted]
            with open(self.folder / "pip.log", "w") as log:
                self.process = subprocess.Popen(install, stdout=log, stderr=log)

    def ready(self) -> Path:
        if self.process is not None and self.process.wait(INSTALL_SECONDS):
            said = (self.folder / "pip.log").read_text().strip()
            text = f"gradio {self.version} does not install on Python {sys.version.split()[0]}:\n{said[-2000:]}"
            if self.version in OLD and sys.version_info >= NOT_FOR:
                pytest.skip(text)
            pytest.fail(text)
        (self.folder / "ready").touch()
        return self.python


@pytest.fixture(scope="session")
def environments(request, tmp_path_factory):
    """All of them, being installed side by side. Kept in $NAG_TIME_GRADIOS, else in pytest's cache."""
    cache = getattr(request.config, "cache", None)
    named = os.environ.get("NAG_TIME_GRADIOS")
    kept = Path(named) if named else cache.mkdir("gradios") if cache else tmp_path_factory.mktemp("gradios")
    made = {version: Environment(version, kept) for version in GRADIOS}
    yield made
    for environment in made.values():
        if environment.process is not None and environment.process.poll() is None:
            environment.process.kill()
            environment.process.wait()


@dataclass
class App:
    """``url``; ``log``: what the server has printed so far; ``presets``: where own presets go."""

    version: str
    presets: Path
    process: subprocess.Popen
    url: str = ""
    log: list[str] = field(default_factory=list)


@pytest.fixture(scope="module", params=GRADIOS)
def app(request, environments, tmp_path_factory):
    presets = tmp_path_factory.mktemp("presets")
    python = environments[request.param].ready()
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env |= {"NAG_TIME_PRESETS": str(presets), "PYTHONUNBUFFERED": "1", "MPLCONFIGDIR": str(presets.parent)}
    command = [str(python), "-W", "default", str(HERE / "panel_app.py")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    running = App(request.param, presets, process)
    threading.Thread(target=lambda: running.log.extend(iter(process.stdout.readline, "")), daemon=True).start()
    try:
        end = time.monotonic() + READY_SECONDS
        while not running.url and time.monotonic() < end and process.poll() is None:
            running.url = next((line.split()[1] for line in list(running.log) if line.startswith("URL ")), "")
            time.sleep(0.1)
        assert running.url, f"the page did not start:\n{''.join(running.log)}"
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def page(browser, app):
    """The page with our script and style in it, as a host puts them there, and nothing from other machines."""
    context = browser.new_context(viewport={"width": 900, "height": 1000})
    context.route(lambda url: not url.startswith((app.url, "data:", "blob:")), lambda route: route.abort())
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    broken: list[str] = []
    opened.on("pageerror", lambda error: broken.append(str(error)))
    for script in SCRIPTS:
        opened.add_init_script(path=script)
    opened.goto(app.url, wait_until="domcontentloaded")
    opened.wait_for_selector("#txt2img_generate")
    opened.add_style_tag(path=STYLE)
    yield opened
    context.close()
    ours = [text for text in broken if "nag" in text.lower()]
    assert not ours, f"our script failed: {ours}"
