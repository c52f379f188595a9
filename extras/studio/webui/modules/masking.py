"""Where an inpaint mask lies, and what to put under it."""

from __future__ import annotations

from PIL import Image, ImageFilter, ImageOps


def get_crop_region_v2(mask: Image.Image, pad: int = 0):
    """(x1, y1, x2, y2) around all that is not black, grown by ``pad``; None for a blank mask."""
    box = mask.getbbox()
    if box is None:
        return None
    x1, y1, x2, y2 = box
    return max(x1 - pad, 0), max(y1 - pad, 0), min(x2 + pad, mask.width), min(y2 + pad, mask.height)


def get_crop_region(mask, pad=0):
    mask = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    return get_crop_region_v2(mask, pad) or (0, 0, mask.width, mask.height)


def expand_crop_region(crop_region, processing_width, processing_height, image_width, image_height):
    """The region grown, and moved inside the picture, to the sides' ratio of the denoised picture."""
    x1, y1, x2, y2 = crop_region
    wanted = processing_width / processing_height

    def grow(a, b, size, limit):
        size = min(size, limit)
        a = max(0, min(a - (size - (b - a)) // 2, limit - size))
        return a, a + size

    if (x2 - x1) / (y2 - y1) > wanted:
        y1, y2 = grow(y1, y2, int((x2 - x1) / wanted), image_height)
    else:
        x1, x2 = grow(x1, x2, int((y2 - y1) * wanted), image_width)
    return x1, y1, x2, y2


def fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The masked part replaced by ever finer blurs of its surroundings."""
    base = Image.new("RGBA", image.size)
    surroundings = Image.new("RGBa", image.size)
    surroundings.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    for radius, times in ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)):
        blurred = surroundings.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            base.alpha_composite(blurred)
    return base.convert("RGB")
