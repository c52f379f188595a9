"""A Studio in a process of its own and a headless Chromium at its page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from extras.studio.commands.environment import SetupError

ROOT = Path(__file__).resolve().parents[3]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
START = "import sys; from extras.studio.commands.web import main; sys.exit(main(sys.argv[1:]))"


def chromium() -> str | None:
    """The browser's path, or None. NAGTIME_CHROMIUM names one."""
    names = (os.environ.get("NAGTIME_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@contextmanager
def studio() -> Iterator[str]:
    """The address of a Studio that ends with the block. RuntimeError with its output when it does not start."""
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-u", "-c", START, "--port", "0", "--no-browser", "--outputs", outputs]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                found = re.search(r"http://127\.0\.0\.1:\d+", line)
                if found:
                    yield found[0]
                    return
            raise RuntimeError(f"the Studio did not start:\n{said}")
        finally:
            process.terminate()
            process.wait()


@contextmanager
def shown(url: str, width: int, height: int) -> Iterator[Any]:
    """A page in the browser, in the light theme. SetupError without a Chromium."""
    path = chromium()
    if path is None:
        raise SetupError("no Chromium here: install one (Debian: apt install chromium) or name it: NAGTIME_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.set_default_timeout(120_000)
        page.goto(url)
        yield page
        browser.close()


def ready(page: Any) -> None:
    """Wait until the Studio's page takes a click: drawn, alive, and no longer under Gradio's own "Loading..."."""
    page.wait_for_selector("#txt2img_generate")
    page.wait_for_selector("#nag_time_txt2img_plot svg")
    page.wait_for_selector(".gradio-container .main > [data-testid=status-tracker]", state="hidden")


@contextmanager
def opened(width: int, height: int) -> Iterator[Any]:
    """The page of a Studio of its own, ready to be clicked."""
    with studio() as url, shown(url, width, height) as page:
        ready(page)
        page.wait_for_timeout(2500)  # what the page's scripts put into place
        yield page
