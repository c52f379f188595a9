"""A group of cells as one request of A1111's HTTP API; the Studio in this process takes the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..cells import Cell

SCRIPT = "NAG Time"


def body_of(group: Sequence[Cell]) -> dict[str, Any]:
    """The txt2img body that draws the group. All `batch` seeds of its block are drawn, even those nobody asks for:
    the pixels of a picture must not depend on which of its neighbours were drawn before."""
    cell = group[0]
    spec, batch = cell.spec, cell.spec["batch"]
    body: dict[str, Any] = {
        "prompt": spec["prompt"],
        "negative_prompt": spec["negative_prompt"],
        "seed": spec["seed"] // batch * batch,
        "batch_size": batch,
        "n_iter": 1,
        "steps": spec["steps"],
        "cfg_scale": spec["cfg"],
        "sampler_name": spec["sampler"],
        "scheduler": spec["scheduler"],
        "width": spec["width"],
        "height": spec["height"],
        "override_settings": {
            **spec["options"],
            "sd_model_checkpoint": spec["checkpoint"],
            "CLIP_stop_at_last_layers": spec["clip_skip"],
        },
        "do_not_save_samples": True,
        "do_not_save_grid": True,
        "save_images": False,
        "send_images": True,
    }
    body["alwayson_scripts"] = {SCRIPT: {"args": [cell.nag if cell.nag is not None else {"enabled": False}]}}
    return body
