"""A WebUI over HTTP, as any client sees it. Needs numpy and PIL; nothing of the product."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.error
import urllib.request

import numpy as np
from PIL import Image

TIMEOUT = 900  # seconds; hosts may load a checkpoint first
BASE = {
    "prompt": "a nerd", "negative_prompt": "", "steps": 4, "width": 64, "height": 64, "seed": 7, "subseed": 7,
    "cfg_scale": 1, "sampler_name": "Euler", "scheduler": "Automatic", "batch_size": 1, "n_iter": 1,
    "do_not_save_samples": True, "do_not_save_grid": True, "save_images": False, "send_images": True,
}  # fmt: skip
GLASSES = {"negative": "glasses", "scale": 8}


class Refused(Exception):
    """An answer that is not 200. ``status``, ``body``."""

    def __init__(self, path: str, status: int, body: str):
        self.status, self.body = status, body
        super().__init__(f"{path}: {status} {body[:500]}")


class Drawn:
    """One answer. ``pixels`` (B, H, W, 3); ``texts``: infotexts; ``params``: of the info; ``reports``: pass name ->
    report, ``report`` the first pass's; ``error``: what the infotext calls NAG error."""

    def __init__(self, answer: dict):
        self.pngs = answer["images"]
        self.info = json.loads(answer["info"])
        self.texts = self.info["infotexts"]
        self.params = self.info["extra_generation_params"]
        self.error = str(self.params.get("NAG error", ""))
        self.warning = str(self.params.get("NAG warning", ""))
        self.reports = self.params.get("NAG report", {})
        self.report = self.reports.get("picture") or next(iter(self.reports.values()), {})

    @property
    def pixels(self) -> np.ndarray:
        return np.stack([np.asarray(read(png)).astype(int) for png in self.pngs])

    def distance(self, other: Drawn) -> int:
        """The largest difference of any value, 0 to 255; 256 where shapes differ."""
        mine, its = self.pixels, other.pixels
        return int(abs(mine - its).max()) if mine.shape == its.shape else 256

    def same(self, other: Drawn, tolerance: int = 0) -> bool:
        return self.distance(other) <= tolerance


def read(png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(png.split(",", 1)[-1]))).convert("RGB")


def written(image: Image.Image) -> str:
    """A picture as base64."""
    out = io.BytesIO()
    image.save(out, format="PNG")
    return base64.b64encode(out.getvalue()).decode()


class Client:
    """Requests to one host. ``nag``: our options as the API's typed object; None leaves the panel's values."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def get(self, path: str):
        return self._ask(path)

    def post(self, path: str, body: dict | None = None):
        return self._ask(path, json.dumps(body or {}).encode())

    def api(self, path: str, body: dict | None = None):
        """A route of /sdapi/v1: GET without a body."""
        path = f"/sdapi/v1/{path}"
        return self.get(path) if body is None else self.post(path, body)

    def has(self, path: str) -> bool:
        try:
            self.get(path)
        except Refused:
            return False
        return True

    def draw(self, nag=None, *, args: list | None = None, always: dict | None = None, **fields) -> Drawn:
        """A small picture. ``args``: our options by position; ``always``: arguments of other scripts."""
        return Drawn(self.answer(nag, args=args, always=always, **fields))

    def answer(self, nag=None, *, args: list | None = None, always: dict | None = None, **fields) -> dict:
        """The answer itself."""
        scripts = {name: {"args": list(given)} for name, given in (always or {}).items()}
        if nag is not None or args is not None:
            scripts["NAG Time"] = {"args": [nag] if args is None else list(args)}
        body = {**BASE, **fields, "alwayson_scripts": scripts}
        if fields.get("enable_hr"):
            body.setdefault("hr_additional_modules", ["Use same choices"])  # Forge fails without; others ignore it
        return self.api("img2img" if "init_images" in fields else "txt2img", body)

    def wait(self, seconds: float = 300) -> None:
        """Until the host answers."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.api("samplers")
                return
            except (Refused, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def _ask(self, path: str, data: bytes | None = None):
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise Refused(path, error.code, error.read().decode(errors="replace")) from None
        return json.loads(text) if text else None
