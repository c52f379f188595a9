"""An infotext becomes values of controls: the tab's own and the scripts'."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from modules import errors, images, infotext_utils, script_callbacks, sd_samplers


def own_fields(tab: Any) -> list[tuple[Any, Any]]:
    """(component, infotext label or function of the parsed infotext) of the tab's own controls."""
    f = tab.fields
    pairs = [
        (f["prompt"], "Prompt"),
        (f["negative_prompt"], "Negative prompt"),
        (f["steps"], "Steps"),
        (f["sampler_name"], lambda d: sd_samplers.get_sampler_from_infotext(d) if "Sampler" in d else None),
        (f["scheduler"], lambda d: sd_samplers.get_scheduler_from_infotext(d) if "Sampler" in d else None),
        (f["cfg_scale"], "CFG scale"),
        (f["width"], "Size-1"),
        (f["height"], "Size-2"),
        (f["seed"], "Seed"),
        (f["denoising_strength"], "Denoising strength"),
    ]
    if not tab.is_img2img:
        pairs += [
            (f["enable_hr"], lambda d: "Denoising strength" in d and ("Hires upscale" in d or "Hires upscaler" in d)),
            (f["hr_scale"], "Hires upscale"),
            (f["hr_upscaler"], "Hires upscaler"),
            (f["hr_second_pass_steps"], "Hires steps"),
        ]
    return pairs


def updates(text: str, fields: list[tuple[Any, Any]]) -> list[Any]:
    """One Gradio update per (component, label or function) for the infotext ``text``; what it does not say stays."""
    params = infotext_utils.parse_generation_parameters(text) if text.strip() else {}
    if params:
        script_callbacks.infotext_pasted_callback(text, params)
    return [_update(component, target, params) for component, target in fields]


def _update(component: Any, target: Any, params: dict) -> Any:
    try:
        value = target(params) if callable(target) else params.get(target)
        if value is None or not params:
            return gr.skip()
        if isinstance(value, dict):  # a gr.update(...) of the script's own
            return value
        return gr.update(value=_as_type_of(component, value))
    except Exception:
        errors.report(
            f"The infotext's value for {getattr(component, 'elem_id', component)} could not be used", exc_info=True
        )
        return gr.skip()


def _as_type_of(component: Any, value: Any) -> Any:
    """Infotext values are text: give them the type of what the component holds."""
    if isinstance(component, gr.Checkbox):
        return value if isinstance(value, bool) else str(value).strip().lower() not in ("", "0", "false", "no", "off")
    if isinstance(component, (gr.Slider, gr.Number)):
        number = float(value)
        return int(number) if number == int(number) else number
    return value if isinstance(value, (list, bool)) else str(value)


def read(path: str | None) -> tuple[str, str]:
    """(infotext or "", HTML to show) of an uploaded file."""
    if not path:
        return "", ""
    try:
        image = images.read(path)
        text, others = images.read_info_from_image(image)
    except Exception as error:
        return "", message(
            f"This file cannot be read as a picture ({type(error).__name__}); allowed: PNG, JPEG, WebP.", "error"
        )
    if not text:
        rest = f" It holds only: {', '.join(sorted(others))}." if others else ""
        return "", message(
            "This picture carries no settings (no text chunk named parameters): it was not made by a WebUI, or "
            f"they were stripped from it.{rest}",
            "warning",
        )
    return text, info(text)


def info(text: str) -> str:
    """An infotext as HTML, escaped, for under a picture."""
    return f'<div class="infotext">{html.escape(text)}</div>' if text else ""


def message(text: str, kind: str) -> str:
    """A note to the user. ``kind``: "error", "warning" or "note"."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="message {kind}" role="{role}">{html.escape(text)}</div>' if text else ""
