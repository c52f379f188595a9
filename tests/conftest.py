"""A headless Chromium for the tests that click: one for the whole run, as two cannot be driven side by side."""

from __future__ import annotations

import os

import pytest

from extras.studio.pictures.browser import FLAGS, chromium


@pytest.fixture(scope="session")
def browser():
    path = chromium()
    if path is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("no Chromium: in CI the browser test must run")
        pytest.skip("no Chromium on this machine (Debian: apt install chromium; or NAGTIME_CHROMIUM=its path)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield launched
        launched.close()
