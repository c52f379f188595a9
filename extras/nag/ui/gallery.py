"""The maps of a job, behind its pictures in the gallery and in the API's answer."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ..actmap import ActMap
from . import options
from .heatmap import heatmap, span_of

BY_SCRIPT = "no map: the script in use puts the pictures together by itself"


class Gallery:
    """Collects a job's pictures, in grey, as the sampling made them: before anything is laid over them."""

    def __init__(self, actmap: ActMap):
        self.map = actmap
        self.pictures: list[Image.Image] = []

    def see(self, picture: Image.Image) -> None:
        """The next picture of the job."""
        self.pictures.append(picture.convert("L"))

    def batch_done(self, images: int) -> str:
        """A batch of so many images is over. Why there is no map of some, or nothing."""
        self.map.next_batch(images)
        return f"no map: {self.map.reason}" if self.map.reason else ""

    def append(self, p: Any, processed: Any) -> str:
        """Put a map per picture behind the images. Each has its picture's metadata; lists that hosts read by the place
        of an image stay in step, and nothing before them moves. Returns why there are none, or nothing."""
        if _script_is_in_charge(p):
            return BY_SCRIPT
        grids = {i: grid.numpy() for i, grid in enumerate(self.map.grids) if grid is not None}
        span = span_of(grids.values())
        first, in_step = processed.index_of_first_image, len(processed.infotexts) == len(processed.images)
        texts = processed.infotexts[first:]
        for i, grid in grids.items():
            if i >= len(self.pictures):
                break
            drawn = heatmap(self.pictures[i], grid, span)
            text = texts[i] if i < len(texts) else processed.info
            drawn.info["parameters"] = text
            processed.images.append(drawn)
            if in_step:
                processed.infotexts.append(text)
            if options.get(options.SAVE_MAP):
                _save(p, drawn, i, text)
        return ""


def _script_is_in_charge(p: Any) -> bool:
    """A script of the dropdown (plots, upscaling by tiles, loops) takes the pictures for its own ends."""
    chosen = (p.script_args or (0,))[0]
    return isinstance(chosen, int) and chosen > 0


def _save(p: Any, picture: Image.Image, i: int, text: str) -> None:
    """Beside the pictures, where the job saves those."""
    from modules import images, shared

    if not shared.opts.samples_save or p.do_not_save_samples:
        return
    folder, form = p.outpath_samples, shared.opts.samples_format
    images.save_image(picture, folder, "", p.all_seeds[i], p.all_prompts[i], form, info=text, p=p, suffix="-nag-map")
