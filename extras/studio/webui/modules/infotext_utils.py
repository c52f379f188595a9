"""The line of settings under a picture: writing values into it and reading them back."""

from __future__ import annotations

import base64
import io
import json
import re
import sys

from modules import prompt_attention, shared

sys.modules["modules.generation_parameters_copypaste"] = sys.modules[__name__]  # its old name

re_param = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
re_imagesize = re.compile(r"^(\d+)x(\d+)$")

paste_fields: dict[str, dict] = {}
registered_param_bindings: list = []
infotext_to_setting_name_mapping: list = []
_DEFAULTS = {
    "Clip skip": "1",
    "Hires resize-1": 0,
    "Hires resize-2": 0,
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": 0,
    "Schedule min sigma": 0,
    "Schedule rho": 0,
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Refiner switch by sampling steps": False,
}


class ParamBinding:
    def __init__(
        self,
        paste_button,
        tabname,
        source_text_component=None,
        source_image_component=None,
        source_tabname=None,
        override_settings_component=None,
        paste_field_names=None,
    ):
        self.paste_button, self.tabname = paste_button, tabname
        self.source_text_component, self.source_image_component = source_text_component, source_image_component
        self.source_tabname, self.override_settings_component = source_tabname, override_settings_component
        self.paste_field_names = paste_field_names or []


class PasteField(tuple):
    """(component, label or function), with the API field of the same meaning."""

    def __new__(cls, component, target, *, api=None):
        return super().__new__(cls, (component, target))

    def __init__(self, component, target, *, api=None):
        super().__init__()
        self.api, self.component = api, component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None

    def value(self, params: dict):
        """What this field gets from parsed settings; None when they do not say."""
        return self.function(params) if self.function else params.get(self.label)


def reset() -> None:
    paste_fields.clear()
    registered_param_bindings.clear()


def register_paste_params_button(binding) -> None:
    registered_param_bindings.append(binding)


def quote(text):
    """In JSON quotes when it has a comma, colon or newline; else unchanged."""
    if not any(c in str(text) for c in ",\n:"):
        return text
    return json.dumps(text, ensure_ascii=False)


def unquote(text: str):
    """The reverse of `quote`; text that only looks quoted is left."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def image_from_url_text(filedata):
    """A picture from base64 text, with or without a data: head."""
    from modules import images

    if filedata is None or filedata == []:
        return None
    if isinstance(filedata, list):
        filedata = filedata[0]
    return images.read(io.BytesIO(base64.b64decode(str(filedata).split(",", 1)[-1])))


def add_paste_fields(tabname, init_img, fields, override_settings_component=None) -> None:
    """Say which components of a tab take which settings. Plain pairs become `PasteField`s."""
    if fields:
        fields[:] = [f if isinstance(f, PasteField) else PasteField(*f) for f in fields]
    paste_fields[tabname] = {
        "init_img": init_img,
        "fields": fields,
        "override_settings_component": override_settings_component,
    }
    from modules import ui

    setattr(ui, f"{tabname}_paste_fields", fields)


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict:
    """The settings of an infotext, by label; "512x768" becomes "Size-1" and "Size-2".

    The last line holds them when it has three or more; the lines above are the prompts. Fields that a
    picture made with the default does not mention are filled in.
    """
    skip = shared.opts.infotext_skip_pasting if skip_fields is None else skip_fields
    *lines, last = x.strip().split("\n")
    if len(re_param.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompts: tuple[list[str], list[str]] = ([], [])
    negative = False
    for line in (text.strip() for text in lines):
        if line.startswith("Negative prompt:"):
            negative, line = True, line[len("Negative prompt:") :].strip()
        # as A1111: a line that follows only empty ones replaces them
        if not any(prompts[negative]):
            prompts[negative].clear()
        prompts[negative].append(line)
    res: dict = {}
    for key, value in re_param.findall(last):
        if value[:1] == '"' and value[-1:] == '"':
            value = unquote(value)
        size = re_imagesize.match(value)
        if size:
            res[f"{key}-1"], res[f"{key}-2"] = size.groups()
        elif value:
            res[key] = value
    res["Prompt"], res["Negative prompt"] = "\n".join(prompts[0]), "\n".join(prompts[1])
    for key, value in _DEFAULTS.items():
        res.setdefault(key, value)
    weighted = [
        *prompt_attention.parse_prompt_attention(res["Prompt"]),
        *prompt_attention.parse_prompt_attention(res["Negative prompt"]),
    ]
    if any(weight != 1.0 and text != "BREAK" for text, weight in weighted):
        res.setdefault("Emphasis", "Original")
    for key in skip:
        res.pop(key, None)
    return res


def _setting_names() -> list[tuple[str, str]]:
    return [
        (i.infotext, k) for k, i in shared.opts.data_labels.items() if i.infotext
    ] + infotext_to_setting_name_mapping


def create_override_settings_dict(text_pairs) -> dict:
    """["Clip skip: 2"] becomes {"CLIP_stop_at_last_layers": 2}."""
    params = {k: v.strip() for k, v in (pair.split(":", maxsplit=1) for pair in text_pairs)}
    return {
        name: shared.opts.cast_value(name, params[label])
        for label, name in _setting_names()
        if params.get(label) is not None
    }


def get_override_settings(params, *, skip_fields=None) -> list[tuple]:
    """[(label, setting, value)] of the settings in ``params`` that differ from the current ones."""
    res = []
    for label, name in _setting_names():
        value = params.get(label)
        if label in (skip_fields or {}) or value is None:
            continue
        if name == "sd_model_checkpoint" and shared.opts.disable_weights_auto_swap:
            continue
        try:
            value = shared.opts.cast_value(name, value)
        except (TypeError, ValueError):
            continue
        if value is not None and value != getattr(shared.opts, name, None):
            res.append((label, name, value))
    return res
