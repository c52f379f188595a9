"""Markup in every text that can reach the page, in a real browser: all of it is shown, none of it runs."""

from __future__ import annotations

import json
import os

import pytest
from PIL import Image, PngImagePlugin

from extras.studio.pictures.browser import ready

STARTED = "window.hits = []; window.hit = mark => window.hits.push(mark);"


def nasty(mark: str) -> str:
    return f"<img src=x onerror=hit('{mark}')>"


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A Studio whose checkpoint and whose user's preset have markup in their names and notes."""
    from security_studio import serving

    presets = tmp_path_factory.mktemp("presets")
    text = {"note": nasty("note"), "source": nasty("source"), "host": {"sampler": nasty("hint")}, "settings": {}}
    (presets / "Mine.json").write_text(json.dumps(text))
    before = os.environ.get("NAG_TIME_PRESETS")
    os.environ["NAG_TIME_PRESETS"] = str(presets)
    try:
        with serving(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("outputs"), nasty("file")) as studio:
            yield studio
    finally:
        os.environ.pop("NAG_TIME_PRESETS")
        if before is not None:
            os.environ["NAG_TIME_PRESETS"] = before


@pytest.fixture
def page(browser, marked):
    """The page, without having run anything that was written into it; afterwards too."""
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.add_init_script(STARTED)
    opened.goto(f"http://127.0.0.1:{marked.port}")
    ready(opened)
    yield opened
    opened.wait_for_timeout(300)  # time for a picture that is not there to fail
    hits, marked_up = opened.evaluate("[window.hits, document.querySelectorAll('[onerror]').length]")
    context.close()
    assert (hits, marked_up) == ([], 0)


def box(page, elem_id: str):
    return page.locator(f"#{elem_id} textarea, #{elem_id} input[type=text]").first


def test_words_of_a_run(page):
    """Prompts, the NAG negative, a LoRA that is not there, the checkpoint's name, the gallery."""
    box(page, "txt2img_prompt").fill(f"{nasty('prompt')} <lora:<u lora:1>")
    box(page, "txt2img_neg_prompt").fill(nasty("negative"))
    box(page, "nag_time_txt2img_negative").fill(nasty("nag"))
    page.wait_for_function("() => document.querySelector('#nag_time_txt2img_enabled-checkbox input').checked")
    page.click("#txt2img_generate")
    page.wait_for_selector("#html_log_txt2img .report")
    told, info = page.locator("#html_log_txt2img").inner_text(), page.locator("#html_info_txt2img").inner_text()
    assert "<u lora" in told
    assert [mark for mark in ("prompt", "negative", "nag", "file") if nasty(mark) not in info] == [], info
    page.wait_for_selector("#txt2img_gallery img")
    page.locator("#setting_sd_model_checkpoint input").click()
    assert nasty("file") in page.content().replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'")


def test_presets(page):
    page.locator("#nag_time_txt2img_enabled-checkbox input").check(force=True)
    choice = page.locator("#nag_time_txt2img_preset input").first
    choice.scroll_into_view_if_needed()
    choice.fill("Mine")
    choice.press("Enter")
    page.locator("#nag_time_txt2img_preset_apply_all, #nag_time_txt2img_preset_apply_all button").first.click()
    page.wait_for_function("() => document.querySelector('#nag_time_txt2img_preset_note').innerText.includes('Source')")
    shown = page.locator("#nag_time_txt2img_preset_note").inner_text()
    assert all(nasty(mark) in shown for mark in ("note", "source", "hint"))


def png(path, **chunks):
    info = PngImagePlugin.PngInfo()
    for key, value in chunks.items():
        info.add_text(key, value)
    Image.new("RGB", (16, 16)).save(path, pnginfo=info)
    return str(path)


def test_pictures_from_elsewhere(page, tmp_path):
    page.get_by_role("tab", name="PNG Info").click()
    text = (
        f"{nasty('infotext')}\nSteps: 1, Sampler: {nasty('sampler')}, Seed: 1, Size: 64x64, NAG scale: {nasty('nag')}"
    )
    page.locator("#pnginfo_image input[type=file]").set_input_files(png(tmp_path / "a.png", parameters=text))
    page.wait_for_selector("#pnginfo_html_info .infotext")
    assert nasty("sampler") in page.locator("#pnginfo_html_info").inner_text()
    page.click("#pnginfo_send_to_txt2img")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt textarea').value.includes('infotext')")


def test_other_text_in_pictures(page, tmp_path):
    page.get_by_role("tab", name="PNG Info").click()
    file = png(tmp_path / "b.png", **{nasty("key"): "x"})
    page.locator("#pnginfo_image input[type=file]").set_input_files(file)
    page.wait_for_selector("#pnginfo_html_info .message.warning")
    assert nasty("key") in page.locator("#pnginfo_html_info").inner_text()


def test_plans(page):
    page.get_by_role("tab", name="Lab").click()
    yaml = page.locator("#nag_lab_yaml textarea")
    yaml.fill(f'name: "{nasty("name")}"\n{nasty("field")}: 1\n')
    page.click("#nag_lab_run")
    page.wait_for_function("() => document.querySelector('#nag_lab_message').innerText.includes('onerror')")


def test_the_labs_live_table_and_plot(tmp_path):
    """What the tab shows of a run in progress: arms and metrics by name."""
    from extras.lab.tab_words import bar, table

    text = table([nasty("head")], [[nasty("cell")]])
    text += bar({"running": True, "share": 0.5, "words": nasty("words")})
    assert "<img" not in text and text.count("&lt;img") == 3
