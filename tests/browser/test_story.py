"""The story of the README, clicked: "glasses" goes into the NAG negative box, and the glasses are gone."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extras.doodle import detect
from extras.studio.pictures.browser import ready

STUDENT = Path(__file__).resolve().parents[2] / "models" / "doodle-student.safetensors"
pytestmark = pytest.mark.skipif(
    not STUDENT.is_file() and os.environ.get("CI", "").lower() != "true", reason="the small student is not there yet"
)
PANEL = "#nag_time_txt2img"


def generate(page, tab: str = "txt2img") -> Image.Image:
    """Press Generate, wait for the run's report, return the picture shown."""
    report = f"#html_log_{tab} .report"
    before = page.locator(report).get_attribute("data-run") if page.locator(report).count() else ""
    page.click(f"#{tab}_generate")
    page.wait_for_selector(f"{report}:not([data-run='{before}'])")
    return shown(page, tab)


def shown(page, tab: str = "txt2img") -> Image.Image:
    source = page.locator(f"#{tab}_gallery .preview img, #{tab}_gallery .media-button img").first
    source.wait_for()
    return Image.open(io.BytesIO(page.request.get(source.get_attribute("src")).body()))


def box(page, elem_id: str):
    return page.locator(f"#{elem_id} textarea, #{elem_id} input[type=text]").first


def number(page, elem_id: str, value: str) -> None:
    page.locator(f"#{elem_id} input[type=number]").first.fill(value)
    page.keyboard.press("Tab")


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


def test_the_glasses_are_gone(page, tmp_path: Path):
    assert box(page, "txt2img_prompt").input_value() == "a nerd on a pink background"
    with_glasses = generate(page)
    assert with_glasses.size == (128, 128)
    assert detect.has(pixels(with_glasses), "glasses")
    assert detect.subject_kept(pixels(with_glasses), "nerd")
    assert "not guided" in page.locator("#html_log_txt2img").inner_text()

    box(page, "nag_time_txt2img_negative").press_sequentially("glasses")
    page.wait_for_function(f"() => document.querySelector('{PANEL}_enabled-checkbox input').checked")
    without = generate(page)
    page.screenshot(path=str(tmp_path / "story.png"))
    assert not detect.has(pixels(without), "glasses")
    assert detect.subject_kept(pixels(without), "nerd")

    report = page.locator("#html_log_txt2img").inner_text()
    assert "guided steps" in report and "layers" in report and "calls" in report and "change" in report
    text = page.locator("#html_info_txt2img").inner_text()
    assert "NAG negative: glasses" in text and "Seed: " in text
    assert without.info["parameters"].split() == text.split(), "the picture carries what the page shows"

    page.locator(f"{PANEL}_enabled-checkbox input").uncheck()
    again = generate(page)
    assert np.array_equal(pixels(again), pixels(with_glasses)), "switched off, the picture is as before"


def test_the_plot_shows_the_steps_that_will_be_made(page):
    from playwright.sync_api import TimeoutError as TooLate

    page.wait_for_selector(f"{PANEL}_plot :text('/ 4')")
    for steps in ("7", "8", "9", "10"):  # on a busy machine a page that has just opened may miss the first change
        number(page, "txt2img_steps", steps)
        try:
            page.wait_for_selector(f"{PANEL}_plot :text('/ {steps}')", timeout=15_000)
            return
        except TooLate:
            continue
    pytest.fail(f"the plot does not follow the steps: {page.locator(f'{PANEL}_plot').inner_text()}")


def test_a_picture_brings_its_settings_back(page, tmp_path: Path):
    box(page, "nag_time_txt2img_negative").fill("glasses")  # in one go, as when it is pasted
    page.wait_for_function(f"() => document.querySelector('{PANEL}_enabled-checkbox input').checked")
    number(page, "nag_time_txt2img_scale", "6.5")
    number(page, "txt2img_seed", "77")
    picture = generate(page)
    file = tmp_path / "from-elsewhere.png"
    file.write_bytes(page.request.get(page.locator("#txt2img_gallery .preview img, #txt2img_gallery .media-button img")
                                      .first.get_attribute("src")).body())  # fmt: skip

    page.reload()
    ready(page)
    box(page, "txt2img_prompt").fill("something else")
    page.get_by_role("tab", name="PNG Info").click()
    page.locator("#pnginfo_image input[type=file]").set_input_files(str(file))
    page.wait_for_selector("#pnginfo_html_info .infotext:has-text('NAG negative: glasses')")
    page.click("#pnginfo_send_to_txt2img")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt textarea').value.startsWith('a nerd')")
    page.wait_for_function(f"() => document.querySelector('{PANEL}_enabled-checkbox input').checked")
    assert box(page, "nag_time_txt2img_negative").input_value() == "glasses"
    assert float(page.locator(f"{PANEL}_scale input[type=number]").input_value()) == 6.5
    assert page.locator("#txt2img_seed input").input_value() == "77"
    assert np.array_equal(pixels(generate(page)), pixels(picture)), "the settings make the same picture"


def test_a_picture_without_settings_says_so(page, tmp_path: Path):
    file = tmp_path / "plain.png"
    Image.new("RGB", (32, 32), "teal").save(file)
    page.get_by_role("tab", name="PNG Info").click()
    page.locator("#pnginfo_image input[type=file]").set_input_files(str(file))
    page.wait_for_selector("#pnginfo_html_info .message.warning")
    assert "carries no settings" in page.locator("#pnginfo_html_info").inner_text()


def test_interrupt_ends_a_long_run(page):
    number(page, "txt2img_steps", "150")
    number(page, "txt2img_batch_count", "50")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_progress .bar")
    page.click("#txt2img_interrupt")
    page.wait_for_function("() => document.getElementById('html_log_txt2img').innerText.includes('Interrupted')")
    assert page.locator("#txt2img_progress .bar").count() == 0


def test_a_bad_value_is_a_message_and_the_page_goes_on(page):
    number(page, "txt2img_steps", "4")
    page.evaluate(
        """() => { const e = document.querySelector('#txt2img_width input[type=number]');
                   e.removeAttribute('step'); e.value = '100'; updateInput(e); }"""
    )
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_message .message.error")
    text = page.locator("#txt2img_message").inner_text()
    assert "width" in text.lower() and "multiple of 8" in text
    number(page, "txt2img_width", "128")
    assert generate(page).size == (128, 128)
    assert not page.locator("#txt2img_message .message").count()


def test_img2img_starts_from_the_picture_sent_to_it(page):
    first = generate(page)
    page.click("#txt2img_send_to_img2img")
    page.wait_for_selector("#img2img_image img")
    second = generate(page, "img2img")
    assert second.size == first.size
    assert "Denoising strength: 0.75" in page.locator("#html_info_img2img").inner_text()


def test_hosts_javascript_names_are_there(page):
    names = ["gradioApp", "onUiLoaded", "onAfterUiUpdate", "onOptionsChanged", "updateInput"]
    assert page.evaluate("names => names.filter(n => typeof window[n] !== 'function')", names) == []
    assert page.evaluate("() => gradioApp().querySelector('#txt2img_prompt textarea') !== null")


def test_only_long_work_goes_through_the_queue(page, studio):
    """Gradio may lose the answer to what is asked for just when another queued event ends."""
    config = page.request.get(f"{studio.url}/config").json()
    names = {component["id"]: component["props"].get("elem_id") for component in config["components"]}
    queued = {names.get(target) for event in config["dependencies"] if event["queue"] for target, _ in event["targets"]}
    work = {f"{tab}_{button}" for tab in ("txt2img", "img2img") for button in ("generate", "compare")}
    assert queued == {*work, "setting_sd_model_checkpoint", None}, "None: what follows a click on an example"


def test_dark_and_light_differ(browser, studio, tmp_path: Path):
    colours = []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1360, "height": 900})
        page = context.new_page()
        page.goto(studio.url)
        ready(page)
        colours.append(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        page.screenshot(path=str(tmp_path / f"{scheme}.png"))
        context.close()
    assert colours[0] != colours[1]
