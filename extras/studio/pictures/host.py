"""host.png: the panel in a running WebUI, clicked in a headless browser: a negative, a preset, a picture, its report.

Made with what is loaded there. For README.md that is AUTOMATIC1111's WebUI with the small models in it
(`python nagtime.py models --webui PATH`) and `doodle-student` chosen.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from PIL import Image

from extras.studio.commands.environment import SetupError
from extras.studio.pictures.browser import shown

WIDTH, HEIGHT, EDGE = 1240, 1500, 14
PANEL = "#nag_time_txt2img"
PROMPT, NEGATIVE, SEED, PRESET = "a nerd on a pink background", "glasses", 7, "Doodle student"
SIDES = (128, 128)
FRAMED = ("#txt2img_prompt", "#txt2img_generate", f"{PANEL}_enabled", "#txt2img_results")
"""What the picture reaches around."""


def draw(out: Path, url: str) -> list[Path]:
    """``url``: the WebUI's. SetupError when nobody answers there, or not with our panel."""
    _knock(url)
    with shown(f"{url.rstrip('/')}/?__theme=light", WIDTH, HEIGHT) as page:
        _play(page)
        picture = page.screenshot(full_page=True, clip=_frame(page))
    path = out / "host.png"
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return [path]


def _knock(url: str) -> None:
    """A page that is not there is told before a browser is started."""
    try:
        urlopen(url, timeout=20).close()
    except HTTPError as error:
        raise SetupError(f"--host {url}: answered {error.code}, allowed: the address of a WebUI's page") from None
    except OSError as error:
        raise SetupError(f"--host {url}: nobody answers there ({getattr(error, 'reason', error)})") from None


def _play(page: Any) -> None:
    _wait(page, "#txt2img_prompt textarea", "the tab txt2img")
    _wait(page, f"{PANEL}_negative textarea", "the section NAG Time", "attached")
    page.wait_for_timeout(4000)  # what the page's scripts put into place
    page.locator("#txt2img_prompt textarea").fill(PROMPT)
    for part, value in zip(("width", "height", "seed"), (*SIDES, SEED), strict=True):
        page.locator(f"#txt2img_{part} input[type=number]").first.fill(str(value))
        page.keyboard.press("Tab")
    page.locator(f"{PANEL}_enabled .label-wrap").first.click()  # opens it, and switches it on
    page.locator(f"{PANEL}_negative textarea").fill(NEGATIVE)
    _choose(page, f"{PANEL}_preset", PRESET)
    page.locator(f"{PANEL}_preset_apply_all").click()
    _wait(page, f"{PANEL}_preset_note :text('Goes with')", f"the preset {PRESET}")
    page.wait_for_timeout(2500)  # the plot follows
    page.locator("#txt2img_generate").click()
    _wait(page, f"{PANEL}_report table", "a picture and its report")
    page.wait_for_timeout(2500)  # the gallery
    page.mouse.move(1, 1)


def _choose(page: Any, place: str, name: str) -> None:
    """From a list, which may be drawn anew while it is open: then once more."""
    from playwright.sync_api import TimeoutError

    for _ in range(5):
        page.locator(f"{place} input").first.click()
        with suppress(TimeoutError):
            page.locator("ul[role=listbox] li, ul.options li").filter(has_text=name).first.click(timeout=3000)
            return
    raise SetupError(f"--host: the page offers no preset {name!r}: is the extension as old as this command?")


def _wait(page: Any, selector: str, what: str, state: str = "visible") -> None:
    from playwright.sync_api import TimeoutError

    try:
        page.wait_for_selector(selector, state=state)
    except TimeoutError:
        raise SetupError(f"--host {page.url}: {what} did not appear; is this a WebUI with NAG Time in it?") from None


def _frame(page: Any) -> dict[str, float]:
    """The rectangle around the things of FRAMED, down to the panel's end."""
    boxes = [page.locator(each).first.bounding_box() for each in FRAMED]
    left = max(min(box["x"] for box in boxes) - EDGE, 0)
    top = max(min(box["y"] for box in boxes) - EDGE, 0)
    right = min(max(box["x"] + box["width"] for box in boxes) + EDGE, WIDTH)
    panel = boxes[FRAMED.index(f"{PANEL}_enabled")]
    return {"x": left, "y": top, "width": right - left, "height": panel["y"] + panel["height"] + 2 - top}
