"""panel.webp: half a minute of the page, clicked in a headless browser: a picture, a negative typed, the picture
without the thing, a handle dragged, both compared."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from extras.studio.pictures.browser import opened

WIDTH, HEIGHT, SHOWN = 1280, 800, 960
STRIP = 40
REPORT = "#html_log_txt2img .report"
POINTER = ((0, 0), (0, 19), (5, 15), (9, 23), (12, 21), (8, 14), (14, 14))


class Film:
    """Frames and how long each stands. The pointer is drawn on them: a headless browser shows none."""

    def __init__(self, page: Any):
        self.page = page
        self.words = ""
        self.pointer = (WIDTH * 0.6, HEIGHT * 0.9)
        self.frames: list[Image.Image] = []
        self.times: list[int] = []
        self._seen = Image.new("RGB", (WIDTH, HEIGHT))

    def look(self, ms: int) -> None:
        """The page as it is now, for so long."""
        self._seen = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        self._add(ms)

    def _add(self, ms: int) -> None:
        frame = Image.new("RGB", (WIDTH, HEIGHT + STRIP), (15, 23, 42))
        frame.paste(self._seen, (0, 0))
        pen = ImageDraw.Draw(frame)
        x, y = self.pointer
        pen.polygon([(x + 1.3 * dx, y + 1.3 * dy) for dx, dy in POINTER], fill="black", outline="white", width=2)
        pen.text((16, HEIGHT + 7), self.words, fill="white", font=ImageFont.load_default(22))
        small = frame.resize((SHOWN, round(SHOWN * frame.height / frame.width)), Image.Resampling.LANCZOS)
        if self.frames and small.tobytes() == self.frames[-1].tobytes():
            self.times[-1] += ms
        else:
            self.frames.append(small)
            self.times.append(ms)

    def to(self, place: Any, share: float = 0.5, frames: int = 8) -> None:
        """The pointer goes to a thing, at ``share`` of its width."""
        place.scroll_into_view_if_needed()
        box = place.bounding_box()
        self.glide(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, frames)

    def glide(self, x: float, y: float, frames: int = 8, look: bool = False) -> None:
        """The pointer goes there; with ``look``, the page is seen anew at every stop."""
        x0, y0 = self.pointer
        for i in range(1, frames + 1):
            way = i / frames
            way = way * way * (3 - 2 * way)
            self.pointer = (x0 + (x - x0) * way, y0 + (y - y0) * way)
            self.page.mouse.move(*self.pointer)
            if look:
                self.page.wait_for_timeout(60)
                self.look(90)
            else:
                self._add(60)

    def click(self, place: Any) -> None:
        self.to(place)
        self.page.mouse.click(*self.pointer)

    def save(self, path: Path) -> None:
        first, *rest = self.frames
        first.save(
            path, save_all=True, append_images=rest, duration=self.times, loop=0, quality=90, method=4, kmin=40, kmax=80
        )


def draw(out: Path) -> list[Path]:
    with opened(WIDTH, HEIGHT) as page:
        film = Film(page)
        _play(film, page)
    path = out / "panel.webp"
    film.save(path)
    return [path]


def _play(film: Film, page: Any) -> None:
    film.words = "python nagtime.py: a page with a small model in it. Nothing is downloaded."
    film.look(2500)
    film.words = "Generate: a nerd, 4 steps, CFG 1. With glasses."
    _generate(film, page)
    film.look(3300)

    film.words = "Type what must not appear."
    negative = page.locator("#nag_time_txt2img_negative textarea")
    film.click(negative)
    for letter in "glasses":
        page.keyboard.type(letter)
        film.look(130)
    page.wait_for_function("() => document.querySelector('#nag_time_txt2img_enabled-checkbox input').checked")
    page.wait_for_timeout(1200)
    film.look(700)
    film.words = "The same seed: the same face, no glasses. Under it: what was done."
    _generate(film, page)
    film.look(1200)
    film.to(page.locator(REPORT))
    film.look(3000)

    film.words = "The plot shows the steps that are guided. Drag a handle: begin after the first step."
    handle = page.locator("#nag_time_txt2img_plot [data-nag-time-handle=start]")
    film.to(handle)
    frame = page.locator("#nag_time_txt2img_plot .nag-time-frame").bounding_box()
    page.mouse.down()
    film.glide(frame["x"] + frame["width"] * 0.25, film.pointer[1], 10, look=True)
    page.mouse.up()
    page.wait_for_selector("#nag_time_txt2img_plot :text('2-4 / 4')")
    page.wait_for_timeout(800)
    film.look(2700)
    film.words = "Three steps of four are guided: less is changed, and a trace is left."
    _generate(film, page)
    film.look(3300)

    film.words = "Compare with unguided: drawn once, when you ask."
    film.click(page.locator("#txt2img_compare"))
    slider = page.locator("#txt2img_compared [role=slider]")
    slider.wait_for()
    page.wait_for_timeout(800)
    film.look(1500)
    film.to(slider)
    x, y = film.pointer
    page.mouse.down()
    for to in (x - 150, x + 150, x):
        film.glide(to, y, 10, look=True)
    page.mouse.up()
    film.look(2600)


def _generate(film: Film, page: Any) -> None:
    """Press the button, wait for the run's own report."""
    report = page.locator(REPORT)
    before = report.get_attribute("data-run") if report.count() else ""
    film.click(page.locator("#txt2img_generate"))
    page.wait_for_selector(f"{REPORT}:not([data-run='{before}'])")
    page.wait_for_timeout(1500)  # the picture's file, and the panel's report
