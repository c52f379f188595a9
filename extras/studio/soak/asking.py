"""What the clients ask for. The same request always has the same answer, but for one that is interrupted."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

FAULT = "soak fault: "  # in a prompt, followed by a name of faults.FAULTS
LONG = 149  # steps, of requests that will be interrupted and of no other
PROMPTS = ("a nerd", "a nerd on a pink background", "a king, (crown:1.2)", "[a nerd:a king:0.5] BREAK a hat")
GUIDED: dict[str, dict[str, Any]] = {
    "NAG": {"scale": 5},
    "NAG Time": {"scale": 8, "start": 0.17, "end": 0.5, "ramp_steps": 2, "cooldown": 0.2},
    "NAG-PAG": {"nag": False, "nag_pag_scale": 3},
    "TPG": {"nag": False, "tpg_scale": 3},
    "PAG": {"nag": False, "pag_scale": 3, "pag_beta": 0.5},
    "three-way": {"nag": False, "three_way_scale": 3},
    "all": {"scale": 3, "nag_pag_scale": 2, "tpg_scale": 2, "pag_scale": 2, "three_way_scale": 2, "together": True},
    "adaptive": {"scale": 5, "adaptive": 1.0, "map": True},
}


@dataclass(frozen=True)
class Request:
    """``kind``: for the tally; ``tab``: txt2img or img2img; ``body``: JSON; ``status``: of the answer."""

    name: str
    kind: str
    tab: str
    body: dict[str, Any] = field(hash=False)
    status: int = 200

    @property
    def interrupted(self) -> bool:
        return self.kind == "interrupted"


def requests(size: int, seeds: int) -> list[Request]:
    """All that is asked: ``seeds`` of each kind that draws, pictures of ``size`` pixels."""
    found = []
    for number in range(seeds):
        found += [_one(number, size, *each) for each in _drawing(size)]
    return found + [_one(0, size, *each) for each in (*_failing(), *_bad())]


def mixed(among: list[Request], rng: random.Random) -> Iterator[Request]:
    """Requests at random without end: a kind, by its share; then one of it."""
    by_kind: dict[str, list[Request]] = {}
    for request in among:
        by_kind.setdefault(request.kind, []).append(request)
    kinds = list(by_kind)
    shares = [SHARES[kind] for kind in kinds]
    while True:
        yield rng.choice(by_kind[rng.choices(kinds, shares)[0]])


SHARES = {"plain": 3, "guided": 6, "batch": 2, "img2img": 2, "hires": 1, "faulty": 2, "bad": 2, "interrupted": 0.4}


def _one(number: int, size: int, name: str, kind: str, fields: dict[str, Any], status: int = 200) -> Request:
    body = {
        "prompt": PROMPTS[number % len(PROMPTS)], "negative_prompt": "blurry", "seed": 100 + number, "steps": 4,
        "cfg_scale": 1.0, "sampler_name": "Euler", "scheduler": "SGM Uniform", "width": size, "height": size, **fields,
    }  # fmt: skip
    return Request(f"{name} {number}", kind, "img2img" if "init_images" in fields else "txt2img", body, status)


def nag(**values: Any) -> dict[str, Any]:
    """The field that carries our options."""
    options = {"enabled": True, "negative": "glasses, (hat:1.1)", **values}
    return {"alwayson_scripts": {"NAG Time": {"args": [options]}}}


def _drawing(size: int) -> list[tuple[str, str, dict[str, Any]]]:
    start = {"init_images": [_picture(size, 1)], "denoising_strength": 0.6}
    mask = {"mask": _picture(size, 2, "L"), "inpainting_fill": 1}
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}
    lcm = {"sampler_name": "LCM", "scheduler": "Automatic"}
    guided = [(name, "guided", nag(**values)) for name, values in GUIDED.items()]
    return [
        ("plain", "plain", {}),
        ("plain, CFG 4", "plain", {"cfg_scale": 4.0, "sampler_name": "DPM++ 2M SDE"}),
        ("plain, LCM", "plain", lcm),
        *guided,
        ("NAG, CFG 4", "guided", {"cfg_scale": 4.0, **nag(scale=5)}),
        ("NAG, LCM", "guided", {**lcm, **nag(scale=5)}),
        ("NAG, Heun", "guided", {"sampler_name": "Heun", **nag(scale=5, end=0.6)}),
        ("batch of 2", "batch", {"batch_size": 2, **nag(scale=5)}),
        ("2 batches", "batch", {"n_iter": 2, "cfg_scale": 3.0, **nag(scale=5, pag_scale=2)}),
        ("img2img", "img2img", start),
        ("img2img, NAG", "img2img", {**start, **nag(scale=5)}),
        ("inpainting, NAG", "img2img", {**start, **mask, **nag(scale=5)}),
        ("hires, NAG", "hires", {**hires, **nag(scale=5)}),
        ("interrupted", "interrupted", {"steps": LONG, "n_iter": 4, **nag(scale=5)}),
    ]


def _failing() -> Iterator[tuple[str, str, dict[str, Any], int]]:
    from extras.studio.soak.faults import FAULTS

    for name, (_, status) in FAULTS.items():
        for what, fields in (("plain", {}), ("NAG", nag(scale=5, pag_scale=2))):
            yield f"{name}, {what}", "faulty", {"prompt": f"{FAULT}{name}", **fields}, status


def _bad() -> list[tuple[str, str, dict[str, Any], int]]:
    return [
        ("steps 0", "bad", {"steps": 0}, 422),
        ("no sampler", "bad", {"sampler_name": "Eulerr"}, 400),
        ("no picture", "bad", {"init_images": ["bm9uZQ=="]}, 422),
        ("no script", "bad", {"alwayson_scripts": {"NAG": {"args": []}}}, 422),
        ("too large", "bad", {"width": 4096}, 422),
        ("bad scale", "bad", nag(scale="many"), 200),
        ("bad layers", "bad", nag(layers="d99"), 200),
        ("bad hand-off", "bad", nag(handoff_steps=1, handoff_checkpoint="nowhere"), 200),
        ("empty window", "bad", nag(start=0.9, end=0.1), 200),
    ]


def _picture(size: int, seed: int, mode: str = "RGB") -> str:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).convert(mode).resize((size, size), Image.Resampling.NEAREST).save(out, format="PNG")
    return base64.b64encode(out.getvalue()).decode()


def essence(status: int, answer: bytes) -> Any:
    """What must be the same every time: the pictures' bytes, infotext included, and what is said; else the refusal."""
    if status != 200:
        return status, answer.decode("utf-8", "replace")
    told = json.loads(answer)
    info = json.loads(told["info"])
    return status, told["images"], info["infotexts"], info["comments"]
