"""The page: A1111's element ids, settings pasted back, words escaped."""

from __future__ import annotations

import pytest
from PIL import Image, PngImagePlugin

IDS = [
    f"{tab}_{name}"
    for tab in ("txt2img", "img2img")
    for name in (
        "prompt",
        "neg_prompt",
        "generate",
        "interrupt",
        "steps",
        "sampling",
        "scheduler",
        "cfg_scale",
        "width",
        "height",
        "seed",
        "batch_count",
        "batch_size",
        "gallery",
        "script_container",
        "settings",
        "results",
        "denoising_strength",
    )
] + [
    "txt2img_hr-checkbox",
    "txt2img_hr_scale",
    "txt2img_hires_steps",
    "txt2img_hr_upscaler",
    "img2img_image",
    "html_log_txt2img",
    "html_info_txt2img",
    "pnginfo_image",
    "setting_sd_model_checkpoint",
    "tabs",
    "tab_txt2img",
    "tab_img2img",
    "tab_pnginfo",
]
TEXT = (
    "a cottage, <b>bold</b>\nNegative prompt: tree\nSteps: 7, Sampler: Heun, Schedule type: Karras, CFG scale: 2.5, "
    "Seed: 42, Size: 192x128, Denoising strength: 0.3, Hires upscale: 1.5, Hires steps: 3, Hires upscaler: Latent"
)


@pytest.fixture(scope="module")
def blocks(engine):
    from extras.studio import page

    return page.build(engine)


@pytest.fixture(scope="module")
def tab(engine, blocks):
    """The txt2img tab's components by elem_id, with their paste fields."""
    from extras.studio.page import paste
    from extras.studio.page.controls import Tab

    found = {b.elem_id: b for b in blocks.blocks.values() if getattr(b, "elem_id", None)}
    names = {
        "prompt": "prompt",
        "negative_prompt": "neg_prompt",
        "steps": "steps",
        "sampler_name": "sampling",
        "scheduler": "scheduler",
        "cfg_scale": "cfg_scale",
        "width": "width",
        "height": "height",
        "seed": "seed",
        "denoising_strength": "denoising_strength",
        "enable_hr": "hr-checkbox",
        "hr_scale": "hr_scale",
        "hr_upscaler": "hr_upscaler",
        "hr_second_pass_steps": "hires_steps",
    }
    made = Tab("txt2img", engine.runner("txt2img"), {k: found[f"txt2img_{v}"] for k, v in names.items()})
    made.paste = paste.own_fields(made)
    return made


def test_extensions_find_a1111s_element_ids(blocks):
    there = {getattr(b, "elem_id", None) for b in blocks.blocks.values()}
    assert [name for name in IDS if name not in there] == []


def test_an_infotext_fills_the_controls(tab):
    from extras.studio.page import paste

    values = {
        component: update for (component, _), update in zip(tab.paste, paste.updates(TEXT, tab.paste), strict=True)
    }
    got = {name: values[component].get("value") for name, component in tab.fields.items()}
    assert got == {
        "prompt": "a cottage, <b>bold</b>",
        "negative_prompt": "tree",
        "steps": 7,
        "sampler_name": "Heun",
        "scheduler": "Karras",
        "cfg_scale": 2.5,
        "width": 192,
        "height": 128,
        "seed": 42,
        "denoising_strength": 0.3,
        "enable_hr": True,
        "hr_scale": 1.5,
        "hr_upscaler": "Latent",
        "hr_second_pass_steps": 3,
    }


def test_an_empty_infotext_changes_nothing(tab):
    import gradio as gr

    from extras.studio.page import paste

    assert all(update == gr.skip() for update in paste.updates("", tab.paste))


def test_words_of_users_and_pictures_are_escaped():
    from extras.studio.page import paste, report

    nasty = "<img src=x onerror=alert(1)>"
    for text in (
        paste.info(nasty),
        paste.message(nasty, "error"),
        report.render([f"{nasty}\nSteps: 1, Seed: 1, Size: 8x8"], nasty, 1, False),
    ):
        assert nasty not in text and "&lt;img" in text


def picture(path, text=None):
    chunks = PngImagePlugin.PngInfo()
    if text:
        chunks.add_text("parameters", text)
    Image.new("RGB", (16, 16)).save(path, pnginfo=chunks)
    return str(path)


def test_a_png_is_read_and_one_without_settings_says_so(tmp_path):
    from extras.studio.page import paste

    assert paste.read(picture(tmp_path / "with.png", TEXT))[0] == TEXT
    text, shown = paste.read(picture(tmp_path / "without.png"))
    assert text == "" and "carries no settings" in shown
    (tmp_path / "not.png").write_text("no picture")
    text, shown = paste.read(str(tmp_path / "not.png"))
    assert text == "" and "cannot be read as a picture" in shown and "PNG" in shown


def run(engine, tab, values, script_args=None):
    """The last state of the page after a press of Generate: (message, progress, report, info, texts, slider, gallery,
    compare button, what can be compared)."""
    from extras.studio import page
    from extras.studio.page.compare import Shown

    args = tuple(script_args or engine.default_script_args(tab.name))
    return list(page._generate(engine, tab, dict(values), args, Shown()))[-1]


JOB = {
    "prompt": "a nerd",
    "negative_prompt": "",
    "steps": 2,
    "sampler_name": "Euler",
    "scheduler": "Automatic",
    "cfg_scale": 1,
    "width": 64,
    "height": 64,
    "seed": 3,
    "n_iter": 1,
    "batch_size": 2,
    "enable_hr": False,
}


def test_a_job_shows_its_pictures_as_files_with_their_settings(engine, tab):
    message, progress, report, info, texts, _, gallery, *_ = run(engine, tab, JOB)
    assert (message, progress) == ("", "") and "Done in" in report and "a nerd" in info
    written = [Image.open(path).info["parameters"] for path in gallery["value"]]
    assert written == texts and [t.split("Seed: ")[1].split(",")[0] for t in texts[-2:]] == ["3", "4"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", 151),
        ("width", 100),
        ("cfg_scale", float("nan")),
        ("seed", -2),
        ("batch_size", None.__class__),
        ("sampler_name", "Nonesuch"),
        ("scheduler", "Nonesuch"),
        ("prompt", "x" * 60_000),
    ],
)
def test_a_bad_value_is_a_message_that_names_it(engine, tab, field, value):
    message = run(engine, tab, JOB | {field: value})[0]
    assert 'role="alert"' in message
    assert field.removesuffix("_name") in message.lower()


def test_img2img_without_a_picture_says_so(engine):
    from extras.studio.page.controls import Tab

    made = Tab("img2img", engine.runner("img2img"))
    assert "there is none" in run(engine, made, {"init_image": None, **JOB})[0]
