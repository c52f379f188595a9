"""Pictures: resizing, grids, and PNG files that carry their settings in the text chunk "parameters"."""

from __future__ import annotations

import datetime
import io
import math
import os
import re

from PIL import Image, ImageOps, PngImagePlugin

from modules import shared
from modules.script_callbacks import (
    ImageGridLoopParams,
    ImageSaveParams,
    before_image_saved_callback,
    image_grid_callback,
    image_saved_callback,
)

LANCZOS = Image.Resampling.LANCZOS
_KEEP_OUT = (
    "jfif",
    "jfif_version",
    "jfif_unit",
    "jfif_density",
    "dpi",
    "exif",
    "loop",
    "background",
    "timestamp",
    "duration",
    "progressive",
    "progression",
    "icc_profile",
    "chromaticity",
    "photoshop",
    "XML:com.adobe.xmp",
)


def read(fp, **kwargs) -> Image.Image:
    """Open and fully read a picture, turned as its EXIF says."""
    image = Image.open(fp, **kwargs)
    image.load()
    return ImageOps.exif_transpose(image) if "exif" in image.info else image


def flatten(img: Image.Image, bgcolor: str) -> Image.Image:
    """RGB, transparent parts filled with the colour."""
    if img.mode == "RGBA":
        background = Image.new("RGBA", img.size, bgcolor)
        background.paste(img, mask=img)
        img = background
    return img.convert("RGB")


def resize_image(resize_mode: int, im: Image.Image, width: int, height: int, upscaler_name=None) -> Image.Image:
    """To exactly width x height. 0 stretches, 1 crops, 2 fits and fills the rest with the edges."""
    upscaler = next((u for u in shared.sd_upscalers if u.name == upscaler_name), None)
    method = upscaler.filter if upscaler is not None else LANCZOS
    if resize_mode == 0:
        return im.resize((width, height), method)
    ratio, wanted = im.width / im.height, width / height
    wide = (wanted > ratio) if resize_mode == 1 else (wanted < ratio)
    w, h = (width, max(1, round(width / ratio))) if wide else (max(1, round(height * ratio)), height)
    resized = im.resize((w, h), method)
    left, top = (width - w) // 2, (height - h) // 2
    if resize_mode == 1:
        return resized.crop((-left, -top, -left + width, -top + height))
    result = Image.new(im.mode, (width, height))
    if top > 0:
        result.paste(resized.resize((width, top), box=(0, 0, w, 1)), (0, 0))
        result.paste(
            resized.resize((width, height - top - h), box=(0, h - 1, w, h)), (0, top + h)
        ) if height > top + h else None
    if left > 0:
        result.paste(resized.resize((left, height), box=(0, 0, 1, h)), (0, 0))
        result.paste(
            resized.resize((width - left - w, height), box=(w - 1, 0, w, h)), (left + w, 0)
        ) if width > left + w else None
    result.paste(resized, (left, top))
    return result


def image_grid(imgs, batch_size=1, rows=None) -> Image.Image:
    """All pictures on one sheet, about square."""
    rows = rows or max(1, round(math.sqrt(len(imgs))))
    params = ImageGridLoopParams(list(imgs), math.ceil(len(imgs) / rows), rows)
    image_grid_callback(params)
    w, h = max(i.width for i in params.imgs), max(i.height for i in params.imgs)
    grid = Image.new("RGB", (params.cols * w, params.rows * h), "black")
    for n, img in enumerate(params.imgs):
        grid.paste(img, (n % params.cols * w, n // params.cols * h))
    return grid


def png_info(pnginfo: dict) -> PngImagePlugin.PngInfo:
    """The text entries of ``pnginfo`` as PNG chunks."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in pnginfo.items():
        if isinstance(key, str) and isinstance(value, str) and key not in _KEEP_OUT:
            chunks.add_text(key, value)
    return chunks


def png_bytes(image: Image.Image) -> bytes:
    """The picture as PNG, with its info."""
    out = io.BytesIO()
    image.save(out, format="PNG", pnginfo=png_info(image.info))
    return out.getvalue()


def _safe(text: str) -> str:
    return re.sub(r"[^\w\-]+", "_", str(text))[:80]


def _next_number(folder: str) -> int:
    numbers = [int(m.group(1)) for name in os.listdir(folder) if (m := re.match(r"(\d+)", name))]
    return max(numbers, default=-1) + 1


def save_image(
    image,
    path,
    basename,
    seed=None,
    prompt=None,
    extension="png",
    info=None,
    short_filename=False,
    no_prompt=False,
    grid=False,
    pnginfo_section_name="parameters",
    p=None,
    existing_info=None,
    forced_filename=None,
    suffix="",
    save_to_dirs=None,
):
    """Write NUMBER-SEED.png into ``path`` (made if need be, with a folder per day); returns (file, None).

    The name is made of numbers here, never of a prompt, so nothing a client sends can leave the folder.
    """
    folder = path if save_to_dirs is False else os.path.join(path, datetime.date.today().isoformat())
    os.makedirs(folder, exist_ok=True)
    if forced_filename is not None:
        stem = _safe(forced_filename)
    else:
        label = (
            [f"{_next_number(folder):05}"]
            + ([_safe(basename)] if basename else [])
            + ([str(int(seed))] if seed is not None else [])
        )
        stem = "-".join(label) + _safe(suffix)
    pnginfo = dict(existing_info or {})
    if info:
        pnginfo[pnginfo_section_name] = info
    params = ImageSaveParams(image, p, os.path.join(folder, stem + ".png"), pnginfo)
    before_image_saved_callback(params)
    params.image.save(
        params.filename, format="PNG", pnginfo=png_info(params.pnginfo) if shared.opts.enable_pnginfo else None
    )
    params.image.already_saved_as = params.filename
    image_saved_callback(params)
    return params.filename, None


def read_info_from_image(image: Image.Image) -> tuple[str | None, dict]:
    """(infotext or None, the other text entries) of a picture."""
    items = dict(getattr(image, "info", None) or {})
    geninfo = items.pop("parameters", None)
    if isinstance(geninfo, bytes):
        geninfo = geninfo.decode("utf8", errors="replace")
    if geninfo is None and "exif" in items:
        geninfo = _user_comment(image)
    for key in _KEEP_OUT:
        items.pop(key, None)
    return geninfo, {k: (v if isinstance(v, str) else str(v)) for k, v in items.items()}


def _user_comment(image) -> str | None:
    """The EXIF comment in which JPEG and WebP files carry an infotext."""
    try:
        raw = image.getexif().get_ifd(0x8769).get(0x9286)
        if not isinstance(raw, bytes):
            return raw or None
        if raw.startswith(b"UNICODE\0"):
            return raw[8:].decode("utf-16-be" if raw[8:9] == b"\0" else "utf-16-le")
        return raw[8:].decode("utf8", errors="ignore") or None
    except Exception:
        return None


def image_data(data: bytes):
    """(infotext, None) of the bytes of a picture or text file."""
    try:
        return read_info_from_image(read(io.BytesIO(data)))[0], None
    except Exception:
        return data.decode("utf8", errors="replace"), None
