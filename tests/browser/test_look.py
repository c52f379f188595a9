"""How the page looks and is used: what axe finds, narrow windows, one screen, the keyboard, the slider."""

from __future__ import annotations

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from test_story import PANEL, STUDENT, box, generate, number, pixels, shown

from extras.studio.pictures.browser import ready

pytestmark = pytest.mark.skipif(not STUDENT.is_file(), reason="the small student is not there yet")


@pytest.fixture
def opened(browser, studio):
    """A function that opens the page: opened(width, height, scheme)."""
    contexts = []

    def open_page(width: int, height: int, scheme: str = "light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.goto(studio.url)
        ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def guided(page):
    """A guided picture, with the report in the panel."""
    box(page, "nag_time_txt2img_negative").fill("glasses")
    page.wait_for_function(f"() => document.querySelector('{PANEL}_enabled-checkbox input').checked")
    picture = generate(page)
    page.wait_for_selector(f"{PANEL}_report table")
    return picture


def found(page) -> list[str]:
    """What axe calls serious or critical: the rule, the place, the element. What Gradio draws anew is named by us a
    moment later, so what counts is what is still there at a third look."""
    for _ in range(3):
        violations = [v for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
        if not violations:
            break
        page.wait_for_timeout(700)
    return [
        f"{violation['id']}: {' '.join(map(str, node['target']))}: {node['html'][:160]}"
        for violation in violations
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    page = opened(1280, 800, scheme)
    at_first = found(page)
    guided(page)
    page.locator("#nag_time_txt2img_advanced .label-wrap").first.click()
    page.wait_for_selector(f"{PANEL}_start input[type=range]")
    after = found(page)
    page.click("#txt2img_compare")
    page.wait_for_selector("#txt2img_compared [role=slider]")
    compared = found(page)
    others = []
    for name in ("img2img", "PNG Info", "Lab"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(800)
        others += found(page)
    everything = dict.fromkeys([*at_first, *after, *compared, *others])
    assert not everything, "\n".join(everything)


@pytest.mark.parametrize("width", [420, 360])
def test_a_narrow_window_scrolls_down_only(opened, width):
    page = opened(width, 800)
    guided(page)
    page.locator("#nag_time_txt2img_advanced .label-wrap").first.click()
    page.wait_for_timeout(800)
    for name in ("txt2img", "img2img", "PNG Info"):
        tab = page.get_by_role("tab", name=name)
        if tab.count():
            tab.click()
            page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    clipped = """() => [...document.querySelectorAll('.nag-time-report, .nag-time-plot')].filter(e => e.offsetParent)
        .map(e => [e.className, e.scrollWidth - e.clientWidth]).filter(([, over]) => over > 1)"""
    assert page.evaluate(clipped) == []


def test_in_a_narrow_window_the_picture_comes_into_sight(opened):
    page = opened(420, 800)
    page.evaluate("window.scrollTo(0, 0)")
    generate(page)
    in_sight = """() => { const at = document.querySelector('#txt2img_gallery').getBoundingClientRect();
        return at.top >= -1 && at.top < 400; }"""
    page.wait_for_function(in_sight)


def test_one_screen_without_scrolling(opened):
    page = opened(1280, 800)
    seen = ("#txt2img_prompt textarea", "#txt2img_generate", f"{PANEL}_negative textarea", "#txt2img_gallery")
    for place in seen:
        at = page.locator(place).bounding_box()
        assert at and at["y"] >= 0 and at["y"] + at["height"] <= 800, (place, at)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_the_keyboard_alone_makes_a_picture(opened):
    page = opened(1280, 800)
    page.locator("#txt2img_prompt textarea").focus()
    order = []
    for _ in range(3):
        page.keyboard.press("Tab")
        order.append(page.evaluate("() => document.activeElement.closest('[id^=txt2img_]')?.id"))
    assert order == ["txt2img_neg_prompt", "txt2img_generate", "txt2img_interrupt"]
    page.locator("#txt2img_prompt textarea").focus()
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#html_log_txt2img .report")
    assert shown(page).size == (128, 128)


def test_the_steps_set_by_a_handle_are_those_that_are_guided(opened):
    """The plot knows the sampler's own grid before anything is drawn."""
    page = opened(1280, 800)
    box(page, "nag_time_txt2img_negative").fill("glasses")
    page.wait_for_function(f"() => document.querySelector('{PANEL}_enabled-checkbox input').checked")
    page.wait_for_function(f"() => !document.querySelector('{PANEL}_plot').innerText.includes('known when it runs')")
    page.locator(f"{PANEL}_plot [data-nag-time-handle=start]").press("ArrowRight")
    page.wait_for_selector(f"{PANEL}_plot :text('2-4 / 4')")
    generate(page)
    assert "guided steps 2-4 of 4" in page.locator("#html_log_txt2img").inner_text()


def test_an_example_is_one_click_away(opened):
    page = opened(1280, 800)
    page.click("#txt2img_examples button >> nth=1")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt textarea').value.includes('king')")
    page.wait_for_selector("#html_info_txt2img .infotext:has-text('NAG negative: crown')")
    assert page.locator(f"{PANEL}_enabled-checkbox input").is_checked()


def test_compare_shows_the_unguided_twin_under_a_slider(opened):
    page = opened(1280, 800)
    assert page.locator("#txt2img_compare").is_disabled()
    without = guided(page)
    page.click("#txt2img_compare")
    slider = page.locator("#txt2img_compared [role=slider]")
    slider.wait_for()
    images = page.locator("#txt2img_compared img")
    page.wait_for_function("() => [...document.querySelectorAll('#txt2img_compared img')].every(i => i.naturalWidth)")
    assert [images.nth(i).get_attribute("alt") for i in range(2)] == ["unguided", "guided"]
    assert slider.get_attribute("aria-label") and slider.get_attribute("aria-valuenow") == "50"
    now = "v => document.querySelector('#txt2img_compared [role=slider]').getAttribute('aria-valuenow') === v"
    for key, value in (("ArrowRight", "55"), ("ArrowLeft", "50"), ("End", "100"), ("Home", "0"), ("PageUp", "25")):
        slider.press(key)
        page.wait_for_function(now, arg=value)

    page.click("#txt2img_compare")  # back
    page.locator("#txt2img_compared").wait_for(state="hidden")
    assert np.array_equal(pixels(shown(page)), pixels(without))
    number(page, "txt2img_seed", "5")
    generate(page)
    assert not page.locator("#txt2img_compared").is_visible() and page.locator("#txt2img_compare").is_enabled()
    page.locator(f"{PANEL}_enabled-checkbox input").uncheck()
    generate(page)
    assert page.locator("#txt2img_compare").is_disabled(), "an unguided picture has nothing to compare with"
