"""The fields of a request: their types, ranges and defaults, for the page and the HTTP API alike.

A value that is out of range is refused with a `FieldError`, which names the field, the value and what is
allowed. Fields that are not known are ignored, as A1111 does; fields that are null take their default.
"""

from __future__ import annotations

import math
from typing import Any

MAX_PROMPT = 50_000
MAX_PIXELS = 40_000_000


class FieldError(ValueError):
    """A request field with an impossible value."""

    def __init__(self, field: str, value: Any, allowed: str):
        self.field, self.value, self.allowed = field, value, allowed
        shown = repr(value)
        super().__init__(
            f"{field}: {shown if len(shown) <= 80 else shown[:77] + '...'} is not allowed; allowed is {allowed}"
        )


class Number:
    """An int or float in [low, high], ints in multiples of ``step``."""

    def __init__(self, kind: type, low, high, step: int = 1):
        self.kind, self.low, self.high, self.step = kind, low, high, step

    def describe(self) -> str:
        name = "an integer" if self.kind is int else "a number"
        return f"{name} from {self.low} to {self.high}" + (f", a multiple of {self.step}" if self.step > 1 else "")

    def __call__(self, field: str, value):
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
            if self.kind is int and number.is_integer():
                number = int(value) if not isinstance(value, float) else int(number)
            good = (
                math.isfinite(number)
                and self.low <= number <= self.high
                and (self.kind is float or isinstance(number, int))
            )
        except (TypeError, ValueError, OverflowError):
            good = False
        if not good or (self.step > 1 and number % self.step):
            raise FieldError(field, value, self.describe())
        return number


class Text:
    """A string of at most ``limit`` characters."""

    def __init__(self, limit: int = MAX_PROMPT):
        self.limit = limit

    def __call__(self, field: str, value):
        if isinstance(value, (list, dict)) or len(str(value)) > self.limit:
            raise FieldError(field, value, f"text of at most {self.limit} characters")
        return str(value)


def flag(field: str, value):
    """A boolean, or what JSON and forms write for one."""
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() in ("true", "1", "1.0", "yes", "on"):
        return True
    if str(value).strip().lower() in ("false", "0", "0.0", "no", "off", ""):
        return False
    raise FieldError(field, value, "true or false")


def strings(field: str, value):
    if isinstance(value, str):
        value = [value] if value else []
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise FieldError(field, value, "a list of texts")
    return value


def mapping(field: str, value):
    if not isinstance(value, dict):
        raise FieldError(field, value, "an object")
    return dict(value)


_I, _F, _T = (lambda *a: Number(int, *a)), (lambda *a: Number(float, *a)), Text
_SEED = _I(-1, 2**63 - 1)

COMMON = {
    "prompt": _T(),
    "negative_prompt": _T(),
    "styles": strings,
    "seed": _SEED,
    "subseed": _SEED,
    "subseed_strength": _F(0, 1),
    "seed_resize_from_h": _I(-1, 4096),
    "seed_resize_from_w": _I(-1, 4096),
    "seed_enable_extras": flag,
    "sampler_name": _T(100),
    "sampler_index": _T(100),
    "scheduler": _T(100),
    "batch_size": _I(1, 64),
    "n_iter": _I(1, 100),
    "steps": _I(1, 150),
    "cfg_scale": _F(0, 100),
    "width": _I(64, 2048, 8),
    "height": _I(64, 2048, 8),
    "restore_faces": flag,
    "tiling": flag,
    "do_not_save_samples": flag,
    "do_not_save_grid": flag,
    "eta": _F(0, 1),
    "denoising_strength": _F(0, 1),
    "s_min_uncond": _F(0, 15),
    "s_churn": _F(0, 100),
    "s_tmax": _F(0, 999),
    "s_tmin": _F(0, 999),
    "s_noise": _F(0, 2),
    "override_settings": mapping,
    "override_settings_restore_afterwards": flag,
    "refiner_checkpoint": _T(500),
    "refiner_switch_at": _F(0, 1),
    "disable_extra_networks": flag,
}
TXT2IMG = COMMON | {
    "enable_hr": flag,
    "firstphase_width": _I(0, 2048, 8),
    "firstphase_height": _I(0, 2048, 8),
    "hr_scale": _F(1, 8),
    "hr_upscaler": _T(100),
    "hr_second_pass_steps": _I(0, 150),
    "hr_resize_x": _I(0, 4096),
    "hr_resize_y": _I(0, 4096),
    "hr_checkpoint_name": _T(500),
    "hr_sampler_name": _T(100),
    "hr_scheduler": _T(100),
    "hr_prompt": _T(),
    "hr_negative_prompt": _T(),
}
IMG2IMG = COMMON | {
    "resize_mode": _I(0, 3),
    "mask_blur": _I(0, 64),
    "mask_blur_x": _I(0, 64),
    "mask_blur_y": _I(0, 64),
    "mask_round": flag,
    "inpainting_fill": _I(0, 3),
    "inpaint_full_res": flag,
    "inpaint_full_res_padding": _I(0, 1024),
    "inpainting_mask_invert": _I(0, 1),
    "initial_noise_multiplier": _F(0, 2),
    "image_cfg_scale": _F(0, 24),
}
SETTINGS = {
    "CLIP_stop_at_last_layers": _I(1, 12),
    "eta_ddim": _F(0, 1),
    "eta_ancestral": _F(0, 1),
    "s_min_uncond": _F(0, 15),
    "skip_early_cond": _F(0, 1),
    "comma_padding_backtrack": _I(0, 74),
    "initial_noise_multiplier": _F(0, 1.5),
    "img2img_extra_noise": _F(0, 1),
    "s_churn": _F(0, 100),
    "s_tmin": _F(0, 10),
    "s_tmax": _F(0, 999),
    "s_noise": _F(0, 1.1),
    "sigma_min": _F(0, 2),
    "sigma_max": _F(0, 60),
    "rho": _F(0, 50),
    "eta_noise_seed_delta": _I(-(2**31), 2**31),
}
CHOICES = {
    "emphasis": ("None", "Ignore", "Original", "No norm"),
    "randn_source": ("GPU", "CPU"),
    "samples_format": ("png",),
    "show_progress_type": ("Full", "Approx cheap"),
}


def check_setting(name: str, value, info):
    """The value of one host setting in its own type. FieldError when it cannot be that."""
    if value is None:
        return value
    if name in SETTINGS:
        return SETTINGS[name](name, value)
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise FieldError(name, value, "one of " + ", ".join(CHOICES[name]))
        return value
    default = info.default if info is not None else None
    if isinstance(default, bool):
        return flag(name, value)
    if isinstance(default, (int, float)):
        return Number(type(default), -1e9, 1e9)(name, value)
    if isinstance(default, list):
        return strings(name, value)
    if isinstance(default, str) and not isinstance(value, str):
        raise FieldError(name, value, "text")
    return value


def check(fields: dict, is_img2img: bool) -> dict:
    """The known fields of ``fields``, in their types. FieldError for the first impossible one."""
    rules = IMG2IMG if is_img2img else TXT2IMG
    checked = {}
    for name, value in fields.items():
        if name not in rules or value is None:
            continue
        checked[name] = rules[name](name, getattr(value, "value", value))
    width, height, batch = checked.get("width", 512), checked.get("height", 512), checked.get("batch_size", 1)
    if checked.get("enable_hr"):
        width, height = _hires_size(checked, width, height)
    if batch * width * height > MAX_PIXELS:
        most = int(MAX_PIXELS // (width * height))
        raise FieldError("batch_size", batch, f"at most {most} pictures of {int(width)}x{int(height)} at once")
    return checked


def _hires_size(checked: dict, width: float, height: float) -> tuple[float, float]:
    """Pixels of the hires pass. FieldError when it is tiny or huge."""
    x, y, scale = checked.get("hr_resize_x", 0), checked.get("hr_resize_y", 0), checked.get("hr_scale", 2.0)
    if not x and not y:
        field, value, size = "hr_scale", scale, (width * scale, height * scale)
    else:
        field, value = ("hr_resize_x", x) if x else ("hr_resize_y", y)
        factor = max(x / width, y / height)
        size = width * factor, height * factor
    if min(x or size[0], y or size[1]) < 64 or max(size) > 4096:
        raise FieldError(field, value, "what keeps the sides of the picture from 64 to 4096 pixels")
    return size
