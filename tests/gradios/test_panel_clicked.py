"""The panel, built and clicked in gradio 3.41.2 (A1111, reForge, Forge Classic), 4.40.0 (Forge) and 6 (the Studio)."""

from __future__ import annotations

import ast
import re
from contextlib import suppress

import pytest
from playwright.sync_api import Error, TimeoutError

from extras.nag.fields import FIELDS, GROUPS
from extras.nag.settings import load_preset

PANEL = "#nag_time_txt2img"


def shows(page, part: str, text: str) -> None:
    """Wait until the panel's HTML of that name has this text."""
    page.wait_for_function(
        "([id, text]) => document.querySelector(id)?.innerText.replace(/\\s+/g, ' ').includes(text)",
        arg=[f"{PANEL}_{part}", text],
    )


def html(page, part: str) -> str:
    return page.locator(f"{PANEL}_{part}").first.inner_html()


def number(page, elem_id: str, value: str) -> None:
    """Gradio 6 sets a box once more just after it has come into view, over what was typed: a person would see it."""
    typed = page.locator(f"#{elem_id} input[type=number]").first
    for _ in range(3):
        typed.fill(value)
        page.keyboard.press("Tab")
        page.wait_for_timeout(200)
        if float(typed.input_value() or "nan") == float(value):
            return


def read(page, part: str) -> float:
    return float(page.locator(f"{PANEL}_{part} input[type=number]").first.input_value())


def box(page, part: str):
    return page.locator(f"{PANEL}_{part} textarea, {PANEL}_{part} input").first


def press(page, part: str) -> None:
    page.locator(f"button{PANEL}_{part}, {PANEL}_{part} button").first.click()


def open_up(page, part: str) -> None:
    page.locator(f"{PANEL}_{part} .label-wrap").first.click()


def choices(page, elem_id: str) -> list[str]:
    """What a list offers; it is left open."""
    page.locator(f"#{elem_id} input").first.click()
    offered = page.locator("ul[role=listbox] li, ul.options li")
    offered.first.wait_for()
    return [text.replace("✓", "").strip() for text in offered.all_inner_texts()]


def choose(page, elem_id: str, name: str) -> None:
    """A list may be drawn anew while it is open (then it closes): a person would try again."""
    for _ in range(5):
        offered = choices(page, elem_id)
        assert name in offered, offered
        with suppress(TimeoutError):
            page.locator("ul[role=listbox] li, ul.options li").nth(offered.index(name)).click(timeout=2000)
        with suppress(TimeoutError):
            arg = [f"#{elem_id} input", name]
            page.wait_for_function("([id, name]) => document.querySelector(id).value === name", arg=arg, timeout=2000)
            return
    raise AssertionError(f"{name} cannot be chosen")


def switch_on(page, tab: str = "txt2img") -> None:
    """Tick the box; a page that is still being set up may take no notice."""
    tick = page.locator(f"#nag_time_{tab}_enabled-checkbox input")
    for _ in range(20):
        with suppress(Error):
            tick.check(force=True, timeout=1000)
            return
        page.wait_for_timeout(300)
    tick.check(force=True)


def given(page) -> dict:
    """What a script gets when Generate is pressed."""
    before = page.locator("#html_log_txt2img").first.inner_text()
    page.click("#txt2img_generate")
    page.wait_for_function(
        "before => !['', before].includes(document.querySelector('#html_log_txt2img').innerText)", arg=before
    )
    page.wait_for_function("document.querySelector('#txt2img_sent textarea').value !== ''")
    return dict(zip(FIELDS, ast.literal_eval(box_value(page, "#txt2img_sent textarea")), strict=True))


def box_value(page, selector: str) -> str:
    return page.locator(selector).first.input_value()


@pytest.fixture
def panel(page):
    """The page with the panel opened and switched on."""
    switch_on(page)
    box(page, "negative").wait_for(state="visible")
    page.wait_for_selector(f"{PANEL}_preset_age [data-nag-time-age]:not([data-nag-time-age='0'])", state="attached")
    return page


def test_what_is_set_reaches_the_script(panel):
    box(panel, "negative").fill("glasses, hat")
    number(panel, "nag_time_txt2img_scale", "6.5")
    got = given(panel)
    assert (got.pop("enabled"), got.pop("negative"), got.pop("scale")) == (True, "glasses, hat", 6.5)
    assert got == {name: FIELDS[name].default for name in got}
    shows(panel, "report", "A report of glasses, hat")


def test_the_plot_follows_our_sliders_and_the_hosts(panel):
    shows(panel, "plot", "guided steps 1-4 / 4")
    shows(panel, "plot", "CFG 7")
    number(panel, "txt2img_steps", "8")
    shows(panel, "plot", "guided steps 1-8 / 8")
    open_up(panel, "advanced")
    number(panel, "nag_time_txt2img_end", "0.45")
    shows(panel, "plot", "guided steps 1-4 / 8")
    number(panel, "nag_time_txt2img_cooldown", "0.25")
    shows(panel, "plot", "CFG 7 (1-4), 5.6 (5-6), 7 (7-8)")
    number(panel, "txt2img_cfg_scale", "1")
    shows(panel, "plot", "At CFG 1 the cooldown changes nothing")
    choose(panel, "txt2img_sampling", "Adaptive")
    shows(panel, "plot", "The sampler's own steps are known when it runs")
    number(panel, "nag_time_txt2img_start", "0.7")
    shows(panel, "plot", "End 0.45 must come after the start")


def test_a_moving_slider_ends_in_the_right_plot(panel):
    slider = panel.locator("#txt2img_steps input[type=range]")
    slider.focus()
    for _ in range(25):
        panel.keyboard.press("ArrowRight")
    panel.wait_for_timeout(1500)  # late answers of earlier steps would show by now
    shows(panel, "plot", "guided steps 1-29 / 29")


def handle(page, kind: str):
    return page.locator(f"{PANEL}_plot [data-nag-time-handle={kind}]")


def drag(page, kind: str, step: float, of: int) -> None:
    """The handle to the place between two steps."""
    frame, grip = page.locator(f"{PANEL}_plot .nag-time-frame").bounding_box(), handle(page, kind).bounding_box()
    y = grip["y"] + grip["height"] / 2
    page.mouse.move(grip["x"] + grip["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * step / of + 3, y, steps=4)
    page.mouse.up()


def test_the_window_is_dragged_in_the_plot(panel):
    number(panel, "txt2img_steps", "8")
    shows(panel, "plot", "guided steps 1-8 / 8")
    drag(panel, "end", 6, 8)
    shows(panel, "plot", "guided steps 1-6 / 8")
    drag(panel, "start", 2, 8)
    shows(panel, "plot", "guided steps 3-6 / 8")
    drag(panel, "ramp_steps", 4, 8)
    shows(panel, "plot", "guided steps 3-6 / 8 strength 0.33 0.67 1 1")
    drag(panel, "start", 8, 8)  # one step stays
    shows(panel, "plot", "guided steps 6 / 8")
    got = given(panel)
    assert (got["start"], got["end"], got["ramp_steps"]) == (0.62, 0.74, 3)


def test_the_window_is_moved_by_keys(panel):
    number(panel, "txt2img_steps", "8")
    shows(panel, "plot", "guided steps 1-8 / 8")
    handle(panel, "end").focus()
    panel.keyboard.press("ArrowLeft")
    shows(panel, "plot", "guided steps 1-7 / 8")
    panel.wait_for_function("document.activeElement.dataset.nagTimeHandle === 'end'")
    panel.keyboard.press("ArrowLeft")
    shows(panel, "plot", "guided steps 1-6 / 8")
    handle(panel, "start").focus()
    panel.keyboard.press("ArrowRight")
    shows(panel, "plot", "guided steps 2-6 / 8")


def test_sigma_windows_reach_beyond_one(panel):
    open_up(panel, "advanced")
    panel.locator(f"{PANEL}_unit label", has_text="sigma").click()
    panel.wait_for_function(
        f"document.querySelector('{PANEL}_start input[type=range]').max === '1000'",
    )
    number(panel, "nag_time_txt2img_end", "0.2")
    number(panel, "nag_time_txt2img_start", "9")
    shows(panel, "plot", "guided steps 3-4 / 4")
    got = given(panel)
    assert (got["unit"], got["start"], got["end"]) == ("sigma", 9.0, 0.2)


def test_tokens_are_counted_in_the_corner_of_the_box(panel):
    box(panel, "negative").press_sequentially("glasses and a hat")
    shows(panel, "negative_counter", "4/75")
    corner = panel.locator(f"{PANEL}_negative_counter span").first.bounding_box()
    frame = panel.locator(f"{PANEL}_negative").bounding_box()
    assert frame["x"] + frame["width"] / 2 < corner["x"] < frame["x"] + frame["width"] - corner["width"] / 2
    assert frame["y"] - 20 < corner["y"] < frame["y"] + 30
    box(panel, "negative").fill("")
    shows(panel, "negative_counter", "0/75")


def test_a_preset_is_applied_with_or_without_the_sampler_settings(panel):
    box(panel, "negative").fill("glasses")
    choose(panel, "nag_time_txt2img_preset", "Doodle student")
    press(panel, "preset_apply")
    shows(panel, "preset_note", "Goes with: sampler Euler, scheduler SGM Uniform, steps 4, cfg 1")
    wanted = load_preset("Doodle student").settings
    assert read(panel, "scale") == wanted["scale"]
    assert float(box_value(panel, "#txt2img_cfg_scale input[type=number]")) == 7
    press(panel, "preset_apply_all")
    panel.wait_for_function("document.querySelector('#txt2img_cfg_scale input[type=number]').value == 1")
    assert box_value(panel, "#txt2img_scheduler input") == "SGM Uniform"
    got = given(panel)
    assert got["negative"] == "glasses" and {name: got[name] for name in wanted} == wanted


def test_own_presets_are_saved_replaced_and_deleted(panel, app):
    open_up(panel, "advanced")
    number(panel, "nag_time_txt2img_scale", "7.5")
    box(panel, "preset_name").fill("Nur für mich")
    press(panel, "preset_save")
    shows(panel, "preset_own_note", "Saved: Nur für mich")
    assert load_preset("Nur für mich", app.presets).settings["scale"] == 7.5
    assert load_preset("Nur für mich", app.presets).host == {
        "sampler": "Euler", "scheduler": "Automatic", "steps": 4, "cfg": 7,
    }  # fmt: skip
    panel.wait_for_function(f"document.querySelector('{PANEL}_preset input').value === 'Nur für mich'")

    number(panel, "nag_time_txt2img_scale", "9")  # chosen, so it may be replaced
    box(panel, "preset_name").fill("Nur für mich")
    press(panel, "preset_save")
    panel.wait_for_function(f"document.querySelector('{PANEL}_preset_name :is(input, textarea)').value === ''")
    assert load_preset("Nur für mich", app.presets).settings["scale"] == 9

    choose(panel, "nag_time_txt2img_preset", "SD1.5")
    box(panel, "preset_name").fill("Nur für mich")
    press(panel, "preset_save")
    shows(panel, "preset_own_note", "Allowed: a new name")
    press(panel, "preset_delete")
    shows(panel, "preset_own_note", "Allowed: one of your own presets")
    number(panel, "nag_time_txt2img_scale", "4")
    for name in ("../x", ""):
        box(panel, "preset_name").fill(name)
        press(panel, "preset_save")
        shows(panel, "preset_own_note", "Allowed: 1 to 60 letters")
    assert load_preset("Nur für mich", app.presets).settings["scale"] == 9, "nothing was replaced"

    panel.reload()  # the list of a page is made when the server starts, and renewed when the page is opened
    panel.wait_for_selector("#txt2img_generate")
    switch_on(panel)
    panel.wait_for_selector(f"{PANEL}_preset_age [data-nag-time-age='3']", state="attached")
    choose(panel, "nag_time_txt2img_preset", "Nur für mich")
    press(panel, "preset_apply")
    shows(panel, "preset_note", "Goes with: sampler Euler")
    assert read(panel, "scale") == 9
    open_up(panel, "advanced")
    press(panel, "preset_delete")
    shows(panel, "preset_own_note", "Nur für mich.json.deleted")
    assert not list(app.presets.glob("*.json"))
    panel.wait_for_function(f"document.querySelector('{PANEL}_preset input').value === '(choose)'")
    panel.locator("button[role=tab], .tab-nav button").filter(has_text="img2img").first.click()  # that tab knows it too
    switch_on(panel, "img2img")
    panel.wait_for_selector("#nag_time_img2img_preset_age [data-nag-time-age='4']", state="attached")
    assert "Nur für mich" not in choices(panel, "nag_time_img2img_preset")


def test_layers_are_listed_and_a_wrong_selector_is_told(panel):
    open_up(panel, "advanced")
    open_up(panel, "layers_accordion")
    press(panel, "layers_list")
    shows(panel, "layers_said", "guided layers 6 / 6")
    shows(panel, "layers_table", "up_blocks.2.attn2")
    box(panel, "layers").fill("d0-d1=0.5, u2")
    shows(panel, "layers_said", "guided layers 3 / 6")
    assert html(panel, "layers_table").count("nag-time-taken") == 3
    box(panel, "layers").fill("d0-d9")
    shows(panel, "layers_said", "d9 (in 'd0-d9') does not exist; this model has d0-d2, u0-u2")
    box(panel, "layers").fill("all")
    box(panel, "layers_filter").fill("attn1")
    shows(panel, "layers_said", "guided layers")
    panel.wait_for_function(f"!document.querySelector('{PANEL}_layers_table').innerText.includes('attn2')")


def test_every_control_has_an_id_and_a_name(panel, app):
    """For scripts, styles and screen readers."""
    for part in ("advanced", *[f"method_{group}" for group in GROUPS if group not in ("nag", "window", "advanced")]):
        open_up(panel, part)
    nameless = panel.evaluate(
        """() => Array.from(document.querySelectorAll("[id^=nag_time_txt2img]")).flatMap(e =>
            Array.from(e.querySelectorAll("input, textarea, select, button"))).filter(e => e.offsetParent !== null &&
            !(e.getAttribute("aria-label") || e.title || e.textContent.trim() || e.labels?.length ||
              e.closest("label, fieldset") || e.getAttribute("placeholder"))).map(e => e.outerHTML)"""
    )
    assert not nameless, nameless
    for name in FIELDS:
        assert panel.locator(f"[id^='nag_time_txt2img_{name}']").count(), name
    said = [line for line in app.log if re.search(r"warning|error|traceback", line, re.IGNORECASE)]
    ours = [line for line in said if re.search("nag|panel", line, re.IGNORECASE)]
    assert not ours, "".join(app.log)


def test_it_fits_a_narrow_window(panel):
    panel.set_viewport_size({"width": 400, "height": 900})
    open_up(panel, "advanced")
    panel.wait_for_timeout(500)
    wide = panel.evaluate(
        """() => Array.from(document.querySelectorAll("[id^=nag_time_txt2img]")).filter(e => e.offsetParent !== null)
            .filter(e => e.getBoundingClientRect().right > 401).map(e => e.id)"""
    )
    assert not wide, wide
