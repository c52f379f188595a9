"""POST /text-to-image and /image-to-image: guidance without a negative prompt (NAG-PAG) for clients that know no WebUI.

The host draws: a request goes on to the host's own ``/sdapi/v1`` in the same process, with the caller's credentials.
So the routes answer where the host serves that API (a WebUI: started with --api).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from ..layers import Layer, LayerError, select
from .http_models import Answer, ImageToImage, NagPag, TextToImage, refused

SCRIPT = "NAG Time"
PREFIX = "/nag-time"
_DATA_URL = re.compile(r"data:image/(?:png|jpeg|webp);base64,", re.IGNORECASE)
_KINDS = ("joint", "self")  # what NAG-PAG guides: transformers, UNets


def add_routes(app: FastAPI, layers_of: Callable[[], Sequence[Layer]], prefix: str = PREFIX) -> None:
    """Add both routes. ``layers_of``: the layers of the model in memory, LayerError where there is none."""

    @app.post(f"{prefix}/text-to-image", response_model=Answer, tags=[SCRIPT])
    async def text_to_image(body: TextToImage, request: Request) -> Answer:
        """Draw a picture from words, guided by NAG-PAG."""
        return await _draw(app, request, "txt2img", _fields(body, layers_of), body)

    @app.post(f"{prefix}/image-to-image", response_model=Answer, tags=[SCRIPT])
    async def image_to_image(body: ImageToImage, request: Request) -> Answer:
        """Draw a picture from a picture and words, guided by NAG-PAG."""
        fields = _fields(body, layers_of)
        fields |= {"init_images": [_picture(body.image_url)], "denoising_strength": body.strength}
        return await _draw(app, request, "img2img", fields, body)


def _fields(body: TextToImage, layers_of: Callable[[], Sequence[Layer]]) -> dict[str, Any]:
    """The request in the host's words."""
    guided = body.enable_nag_pag and body.nag_pag_scale > 0
    options: dict[str, Any] = {"enabled": guided, "nag": False, "nag_pag_scale": body.nag_pag_scale}
    names = body.nag_pag_applied_layers
    if guided and names is not None:
        options["nag_pag_layers"] = ",".join(names)
        _check_layers(options["nag_pag_layers"], layers_of)
    return {
        "prompt": body.prompt,
        "width": body.width,
        "height": body.height,
        "steps": body.num_inference_steps,
        "cfg_scale": body.guidance_scale,
        "scheduler": "Automatic",  # A1111's default is none at all, which it corrects with a warning
        "seed": -1 if body.seed is None else body.seed,
        "alwayson_scripts": {SCRIPT: {"args": [options]}},
    }


def _check_layers(selector: str, layers_of: Callable[[], Sequence[Layer]]) -> None:
    try:
        layers = list(layers_of())
    except LayerError:
        return  # no model in memory yet: the run itself tells
    kind = next((kind for kind in _KINDS if any(layer.kind == kind for layer in layers)), "self")
    try:
        select(layers, selector, kind, "nag_pag_applied_layers")
    except LayerError as error:
        detail = refused("nag_pag_applied_layers", selector, str(error).partition("; ")[2] or str(error))
        raise HTTPException(422, detail) from None


def _picture(url: str) -> str:
    allowed = "a picture as data:image/png;base64,... (PNG, JPEG, WebP); addresses are not fetched"
    found = _DATA_URL.match(url)
    if not found:
        raise HTTPException(422, refused("image_url", url, allowed))
    text = url[found.end() :]
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(422, refused("image_url", url, allowed)) from None
    return text


async def _draw(app: FastAPI, request: Request, tab: str, fields: dict[str, Any], body: TextToImage) -> Answer:
    import httpx  # every WebUI has it: gradio needs it

    path = f"/sdapi/v1/{tab}"
    if not any(getattr(route, "path", "") == path for route in app.routes):
        raise HTTPException(503, f"the WebUI does not serve {path}; start it with --api")
    headers = {k: v for k, v in request.headers.items() if k in ("authorization", "cookie")}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None) as client:
        answer = await client.post(path, json=fields, headers=headers)
    if answer.status_code != 200:
        raise HTTPException(answer.status_code, _detail(answer))
    result = answer.json()
    if not result.get("images"):
        raise HTTPException(500, "the WebUI made no picture")
    info = json.loads(result["info"])
    reports = _reports(info)
    report = next((r for r in reports if r.get("method") == "NAG-PAG"), None)
    acted = report is not None and report["calls"] > 0
    told = [text for r in reports for text in [*r["warnings"], *([r["error"]] if r["error"] else [])]]
    if body.enable_nag_pag and body.nag_pag_scale > 0 and not acted and not told:
        told = [str(v) for k, v in _parameters(info).items() if k in ("NAG error", "NAG warning")]
        told = told or ["NAG-PAG did not act"]
    return Answer(
        image=f"data:image/png;base64,{result['images'][0]}",
        seed=int(info["seed"]),
        has_nag_pag=acted,
        nag_pag=NagPag(**{k: report[k] for k in ("layers", "calls", "mean_change", "guided_steps")})
        if report
        else None,
        warnings=told,
        infotext=(info.get("infotexts") or [""])[0],
    )


def _parameters(info: dict[str, Any]) -> dict[str, Any]:
    return info.get("extra_generation_params") or {}


def _reports(info: dict[str, Any]) -> list[dict[str, Any]]:
    """The reports of all passes and methods."""
    found = _parameters(info).get("NAG report") or {}
    return [r for r in found.values() if isinstance(r, dict) and "calls" in r]


def _detail(answer: Any) -> Any:
    try:
        told = answer.json()
    except ValueError:
        return answer.text[:500]
    return told.get("detail") or told.get("errors") or told
