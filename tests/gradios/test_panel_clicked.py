"""The panel, built and clicked in gradio 3.41.2 (A1111, reForge, Forge Classic), 4.40.0 (Forge) and 6 (the Studio)."""

from __future__ import annotations

import re

PANEL = "#nag_time_txt2img"


def html(page, part: str) -> str:
    return page.locator(f"{PANEL}_{part}").inner_text()


def shows(page, part: str, text: str) -> None:
    """Wait until the panel's HTML of that name has this text."""
    page.wait_for_function(
        "([id, text]) => document.querySelector(id)?.innerText.replace(/\\s+/g, ' ').includes(text)",
        arg=[f"{PANEL}_{part}", text],
    )


def number(page, elem_id: str, value: str) -> None:
    page.locator(f"#{elem_id} input[type=number]").first.fill(value)
    page.keyboard.press("Tab")


def negative(page):
    return page.locator(f"{PANEL}_negative textarea")


def enable(page) -> None:
    """Tick the switch: as a host's header does it, or the checkbox itself."""
    page.locator(f"{PANEL}_enabled-checkbox input").check(force=True)


def open_up(page, part: str) -> None:
    page.locator(f"{PANEL}_{part} .label-wrap").first.click()


def choose(page, part: str, name: str) -> None:
    page.locator(f"{PANEL}_{part} input").first.click()
    page.locator("ul[role=listbox] li, ul.options li").filter(
        has_text=re.compile(rf"^\W*{re.escape(name)}\s*$")
    ).click()


def given(page) -> list:
    """What a script gets when Generate is pressed."""
    before = page.locator("#txt2img_sent textarea").input_value()
    page.click("#txt2img_generate")
    page.wait_for_function(
        "before => document.querySelector('#txt2img_sent textarea').value !== before", arg=before + ""
    ) if not before else page.wait_for_timeout(800)
    return eval(page.locator("#txt2img_sent textarea").input_value(), {"__builtins__": {}})


def ready(page):
    """The panel, opened."""
    enable(page)
    negative(page).wait_for(state="visible")
    return page


def test_what_is_set_reaches_the_script(page):
    from extras.nag import FIELDS

    ready(page)
    negative(page).fill("glasses, hat")
    number(page, "nag_time_txt2img_scale", "6.5")
    values = given(page)
    assert len(values) == len(FIELDS)
    got = dict(zip(FIELDS, values, strict=True))
    assert (got.pop("enabled"), got.pop("negative"), got.pop("scale")) == (True, "glasses, hat", 6.5)
    assert got == {name: FIELDS[name].default for name in got}
    shows(page, "report", "A report of glasses, hat")
