"""The Studio's page: txt2img, img2img and PNG Info on one screen, on top of the engine.

Import it only after `bootstrap.install()`: it uses the host's own `modules`, as an extension does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from extras.nag.settings import load_preset
from extras.studio.page import compare, jobs, paste, report
from extras.studio.page.controls import PRIVATE, SILENT, Tab, build_tab, guidance_of
from modules import script_callbacks, scripts, shared

ASSETS = Path(__file__).resolve().parent / "assets"
SMALL_PRESET = "Doodle student"
"""What the panel holds at first while one of our small models is loaded."""

FEW_STEPS = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 4, "cfg_scale": 1.0}
MANY_STEPS = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 25, "cfg_scale": 5.0}
SIZES = {"doodle": 128, "sd1": 512, "sd2": 512, "sdxl": 1024}
HINTS = {"sampler": "sampler_name", "scheduler": "scheduler", "steps": "steps", "cfg": "cfg_scale"}
FOLLOW = ("sampler_name", "scheduler", "steps", "cfg_scale", "width", "height")
"""Settings that follow the checkpoint when another one is chosen."""


def build(engine: Any) -> gr.Blocks:
    """The gr.Blocks of the page, for a loaded `extras.studio.engine.Engine`."""
    shared.studio = engine
    defaults = settings_for(shared.sd_model)
    panel = load_preset(SMALL_PRESET).settings if is_small(shared.sd_model) else {}
    others = script_callbacks.ui_tabs_callback()  # outside of our own Blocks, as hosts do
    with gr.Blocks(title="NAG Time Studio", analytics_enabled=False, fill_width=True) as page:
        with gr.Row(elem_classes="studio-head"):
            gr.HTML("<h1>NAG Time <span>Studio</span></h1>", padding=False)
            checkpoint = gr.Dropdown(
                label="Checkpoint",
                show_label=False,
                choices=engine.checkpoint_titles(),
                value=shared.opts.sd_model_checkpoint,
                elem_id="setting_sd_model_checkpoint",
                container=False,
                min_width=280,
                scale=0,
            )
        head_message = gr.HTML("", elem_id="studio_message", padding=False)
        with gr.Tabs(elem_id="tabs", selected="txt2img") as tabs:
            made: dict[str, Tab] = {}
            for name, runner in ((name, engine.runner(name)) for name in ("txt2img", "img2img")):
                scripts.scripts_current = runner
                with gr.Tab(name, id=name, elem_id=f"tab_{name}"):
                    made[name] = build_tab(name, runner, defaults, engine, panel)
                scripts.scripts_current = None
            with gr.Tab("PNG Info", id="pnginfo", elem_id="tab_pnginfo"):
                pnginfo = _png_info()
            for block, title, elem_id in others:
                with gr.Tab(title, id=elem_id, elem_id=f"tab_{elem_id}"):
                    block.render()
        for tab in made.values():
            _wire(engine, tab, made, pnginfo, tabs)
        _wire_png_info(pnginfo, made, tabs)
        page.load(lambda: shared.opts.sd_model_checkpoint, outputs=[checkpoint], **SILENT)
        follow = [tab.fields[name] for tab in made.values() for name in FOLLOW]
        checkpoint.input(
            lambda title: _choose_checkpoint(engine, title),
            [checkpoint],
            [checkpoint, head_message, *follow],
            **PRIVATE,
        )
    shared.demo = page
    return page


def settings_for(model: Any) -> dict[str, Any]:
    """The first settings for a loaded model: few steps at CFG 1, except for our base; its own size."""
    small = is_small(model)
    wanted = {**FEW_STEPS, "width": (size := SIZES["doodle" if small else model.architecture.family]), "height": size}
    if small and model.sd_checkpoint_info.model_name == "doodle-base":
        return {**wanted, **MANY_STEPS}
    hints = load_preset(SMALL_PRESET).host if small else {}
    return {**wanted, **{HINTS[key]: value for key, value in hints.items() if key in HINTS}}


def is_small(model: Any) -> bool:
    """True for a model of ours: no published one has so narrow a text encoder."""
    return model.architecture.unet["cross_attention_dim"] < 768


def _png_info() -> dict[str, Any]:
    with gr.Row(elem_classes="studio-tab"):
        with gr.Column(scale=5, min_width=380):
            image = gr.Image(
                label="A picture made here or in another WebUI",
                type="filepath",
                image_mode=None,
                height=420,
                sources=["upload", "clipboard"],
                elem_id="pnginfo_image",
                elem_classes="studio-crisp",
            )
        with gr.Column(scale=6, min_width=380):
            shown = gr.HTML("", elem_id="pnginfo_html_info", elem_classes="studio-info", padding=False)
            text = gr.State("")
            with gr.Row():
                to_txt2img = gr.Button("Send to txt2img", elem_id="pnginfo_send_to_txt2img", variant="primary")
                to_img2img = gr.Button("Send to img2img", elem_id="pnginfo_send_to_img2img")
    return {"image": image, "info": shown, "text": text, "txt2img": to_txt2img, "img2img": to_img2img}


def _wire(engine: Any, tab: Tab, made: dict[str, Tab], pnginfo: dict[str, Any], tabs: gr.Tabs) -> None:
    o, names = tab.outputs, list(tab.fields)
    told = [o["message"], o["progress"], o["report"], o["info"], o["texts"]]
    slid = [o["slider"], o["gallery"], tab.buttons["compare"], o["shown"]]

    def generate(shown: compare.Shown, *values: Any) -> Iterator[tuple]:
        fields = dict(zip(names, values[: len(names)], strict=True))
        for state in _generate(engine, tab, fields, values[len(names) :], shown):
            yield *state, 0

    inputs, outputs = [o["shown"], *tab.fields.values(), *tab.script_inputs], [*told, *slid, o["chosen"]]
    options = {"concurrency_limit": None, "show_progress": "hidden", **PRIVATE}
    tab.buttons["generate"].click(generate, inputs, outputs, **options)
    guidance = guidance_of(tab)
    for button, *texts in tab.examples if guidance else ():

        def fill(prompt: str = texts[0], negative: str = texts[1]) -> tuple[str, bool, str]:
            return prompt, True, negative

        filled = button.click(fill, outputs=[tab.fields["prompt"], *guidance], **SILENT)
        filled.then(generate, inputs, outputs, **options)
    tab.buttons["interrupt"].click(engine.interrupt, **SILENT)
    tab.buttons["reuse_seed"].click(lambda texts: _seed_of(texts), [o["texts"]], [tab.fields["seed"]], **SILENT)
    o["gallery"].select(_chosen, [o["texts"]], [o["info"], o["chosen"]], **SILENT)

    def press(shown: compare.Shown, chosen: int) -> Iterator[tuple]:
        yield from compare.press(engine, shared.opts.sd_model_checkpoint, shown, chosen)

    tab.buttons["compare"].click(
        press,
        [o["shown"], o["chosen"]],
        [o["message"], o["progress"], *slid],
        **options,
    )
    target = made["img2img"]
    tab.buttons["to_img2img"].click(
        lambda pictures, texts: [
            gr.update(selected="img2img"),
            _first_picture(pictures),
            *paste.updates(_text(texts), target.paste),
        ],
        [o["gallery"], o["texts"]],
        [tabs, target.fields["init_image"], *(c for c, _ in target.paste)],
        **SILENT,
    )
    tab.buttons["to_pnginfo"].click(
        lambda pictures: [gr.update(selected="pnginfo"), (path := _first_picture(pictures)), *_read(path)],
        [o["gallery"]],
        [tabs, pnginfo["image"], pnginfo["text"], pnginfo["info"]],
        **SILENT,
    )


def _wire_png_info(pnginfo: dict[str, Any], made: dict[str, Tab], tabs: gr.Tabs) -> None:
    pnginfo["image"].change(_read, [pnginfo["image"]], [pnginfo["text"], pnginfo["info"]], **SILENT)
    for name, tab in made.items():

        def send(text: str, path: str | None, tab: Tab = tab, name: str = name) -> list:
            go = gr.update(selected=name) if text or (name == "img2img" and path) else gr.skip()
            picture = [path or gr.skip()] if tab.is_img2img else []
            return [go, *picture, *paste.updates(text, tab.paste)]

        picture_field = [tab.fields["init_image"]] if tab.is_img2img else []
        pnginfo[name].click(
            send, [pnginfo["text"], pnginfo["image"]], [tabs, *picture_field, *(c for c, _ in tab.paste)], **SILENT
        )


def _generate(
    engine: Any, tab: Tab, values: dict[str, Any], script_args: tuple, shown: compare.Shown
) -> Iterator[tuple]:
    """(message, progress, report, info, texts, slider, gallery, compare button, shown) while the job runs and when it
    is done. ``shown``: what the page can compare until then."""
    keep = gr.skip()
    rest = (keep, keep, keep)
    if tab.is_img2img:
        values["init_images"] = [values.pop("init_image")]
        if values["init_images"] == [None]:
            problem = (
                "Picture to start from: there is none. Drop one on the field, or send one from txt2img or PNG Info."
            )
            yield paste.message(problem, "error"), "", *rest, keep, keep, keep, keep
            return
    args = (script_args[0] or 0, *script_args[1:])
    job = jobs.Job(engine, tab.name).start(values, args)
    last = ""
    for share, words, preview in job.watch():
        bar = jobs.bar(share, words)
        if bar != last or preview is not None:
            last = bar
            slider, gallery = gr.update(visible=False), gr.update(visible=True)
            if preview is not None:
                gallery["value"] = [preview]
            yield "", bar, *rest, slider, gallery, gr.update(interactive=False), keep
    if job.error:
        yield paste.message(job.error, "error"), "", *rest, *compare.closed(shown)
        return
    text = job.texts[0] if job.texts else ""
    done = report.render(job.texts, job.comments, job.seconds, job.interrupted)
    drawn = values | {"seed": seed} if isinstance(seed := _seed_of(job.texts), int) else values
    files = () if job.interrupted else tuple(job.files)  # of one cut short there is no twin
    model = shared.opts.sd_model_checkpoint
    made = compare.Made(tab.name, model, drawn, args, compare.own_arguments(tab), files)
    slider, gallery, button, shown = compare.closed(shown.after(made))
    gallery |= {"value": job.files, "selected_index": 0 if job.files else None}
    yield "", "", done, paste.info(text), job.texts, slider, gallery, button, shown


def _choose_checkpoint(engine: Any, title: str) -> list[Any]:
    """Load it; the settings follow what kind of model it is. An unusable file leaves the loaded one in place."""
    try:
        engine.set_checkpoint(title)
    except Exception as error:
        return [
            gr.update(value=shared.opts.sd_model_checkpoint),
            paste.message(jobs.explain(error), "error"),
            *[gr.skip()] * 2 * len(FOLLOW),
        ]
    kind = settings_for(shared.sd_model)
    return [
        gr.update(choices=engine.checkpoint_titles(), value=shared.opts.sd_model_checkpoint),
        "",
        *[kind[name] for name in FOLLOW] * 2,
    ]


def _read(path: str | None) -> tuple[str, str]:
    return paste.read(path)


def _text(texts: list[str] | None) -> str:
    return texts[0] if texts else ""


def _seed_of(texts: list[str] | None) -> Any:
    from modules import infotext_utils

    seed = infotext_utils.parse_generation_parameters(_text(texts)).get("Seed") if texts else None
    return int(seed) if seed is not None else gr.skip()


def _chosen(texts: list[str] | None, event: gr.SelectData) -> tuple[str, int]:
    """(its settings, its place) of a picture chosen in the gallery."""
    index = event.index if isinstance(event.index, int) else 0
    return (paste.info(texts[index]) if texts and index < len(texts) else ""), index


def _first_picture(pictures: list | None) -> Any:
    if not pictures:
        return None
    first = pictures[0]
    return first[0] if isinstance(first, (tuple, list)) else first
