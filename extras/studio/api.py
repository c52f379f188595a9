"""The /sdapi/v1 routes that real clients use, with A1111's requests and answers.

A field that cannot be is 422 and names field, value and range; an unknown sampler or scheduler is 400 and
lists the names; anything unforeseen is 500 with the error's name, and the server stays up.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from typing import Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse

from extras.studio.api_requests import TooLarge, read_request, script_args_of
from extras.studio.checkpoint_files import CheckpointError
from extras.studio.fields import IMG2IMG, TXT2IMG, FieldError
from extras.studio.guard import MAX_IMAGE_PIXELS

ECHOED = {
    *TXT2IMG,
    *IMG2IMG,
    "script_name",
    "script_args",
    "alwayson_scripts",
    "send_images",
    "save_images",
    "infotext",
}


def decode_base64_to_image(field: str, text, room: int = MAX_IMAGE_PIXELS):
    """A picture of at most ``room`` pixels from base64, with or without a data: head. FieldError when it is none."""
    from PIL import Image

    from modules import images

    allowed = "a PNG, JPEG or WebP picture in base64"
    if not isinstance(text, str) or not text.strip():
        raise FieldError(field, text, allowed)
    if text.startswith(("http://", "https://")):
        raise FieldError(field, text, allowed + " (addresses are not fetched)")
    try:
        raw = base64.b64decode(text.split(",", 1)[1] if text.startswith("data:") else text, validate=False)
        with Image.open(io.BytesIO(raw)) as probe:
            if probe.width * probe.height > room:
                raise TooLarge
        return images.read(io.BytesIO(raw))
    except (TooLarge, Image.DecompressionBombError):
        raise FieldError(field, text, f"pictures of at most {MAX_IMAGE_PIXELS} pixels, all together") from None
    except (binascii.Error, OSError, ValueError, IndexError, SyntaxError):
        raise FieldError(field, text, allowed) from None


def decode_pictures(body: dict) -> dict[str, Any]:
    """``init_images`` and ``mask`` of a request. FieldError also where they are too many."""
    given = body.get("init_images")
    if not isinstance(given, list) or not given:
        raise FieldError("init_images", given, "a list of one or more pictures in base64")
    room, pictures = MAX_IMAGE_PIXELS, []
    for number, text in enumerate(given):
        pictures.append(decode_base64_to_image(f"init_images[{number}]", text, room))
        room -= pictures[-1].width * pictures[-1].height
    mask = decode_base64_to_image("mask", body["mask"], room) if body.get("mask") else None
    return {"init_images": pictures, "mask": mask}


def encode_image(image) -> str:
    """The picture with its infotext as a base64 PNG."""
    from modules import images

    return base64.b64encode(images.png_bytes(image)).decode("ascii")


def _finite(value):
    """``value`` as JSON can carry it: NaN and infinities become text."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _error(status: int, error: Exception, detail: str | None = None) -> JSONResponse:
    text = detail if detail is not None else str(error)
    return JSONResponse({"error": type(error).__name__, "detail": text, "body": "", "errors": text}, status_code=status)


def _handlers(app: FastAPI) -> None:
    from modules import errors
    from modules.sd_samplers import UnknownName

    def foreseen(status):
        async def handle(request: Request, error: Exception):
            return _error(status, error)

        return handle

    for kind, status in ((FieldError, 422), (CheckpointError, 422), (UnknownName, 400)):
        app.add_exception_handler(kind, foreseen(status))

    @app.middleware("http")
    async def unforeseen(request: Request, call_next):
        if not request.url.path.startswith("/sdapi/"):
            return await call_next(request)
        try:
            return await call_next(request)
        except Exception as error:
            errors.report(f"API error: {request.method} {request.url.path}", exc_info=True)
            return _error(500, error, f"{type(error).__name__}: {error}")


def add_routes(app: FastAPI, engine) -> None:
    """Add all routes. ``engine`` is a loaded `extras.studio.engine.Engine`."""
    _handlers(app)
    _job_routes(app, engine)
    _control_routes(app, engine)
    from extras.studio.api_lists import add_list_routes

    add_list_routes(app, engine)


def _job_routes(app: FastAPI, engine) -> None:
    def run(tab: str, body: dict) -> dict:
        fields, script_values = read_request(engine, tab, body)
        args = script_args_of(engine, tab, body, script_values)
        if tab == "img2img":
            fields |= decode_pictures(body)
        processed = (engine.img2img if tab == "img2img" else engine.txt2img)(fields, args, is_api=True)
        shown = _finite(
            {k: v for k, v in {**fields, **body}.items() if k in ECHOED and k not in ("init_images", "mask")}
        )
        if tab == "img2img":
            keep = bool(body.get("include_init_images"))
            shown |= {k: body.get(k) if keep else None for k in ("init_images", "mask")}
        images = [encode_image(x) for x in processed.images] if body.get("send_images", True) else []
        return {"images": images, "parameters": shown, "info": processed.js()}

    @app.post("/sdapi/v1/txt2img")
    def txt2img(body: dict[str, Any] = Body(default={})):  # noqa: B008
        return run("txt2img", body)

    @app.post("/sdapi/v1/img2img")
    def img2img(body: dict[str, Any] = Body(default={})):  # noqa: B008
        return run("img2img", body)

    @app.post("/sdapi/v1/png-info")
    def png_info(body: dict[str, Any] = Body(default={})):  # noqa: B008
        return engine.png_info(decode_base64_to_image("image", body.get("image")))


def _control_routes(app: FastAPI, engine) -> None:
    @app.get("/sdapi/v1/progress")
    def progress(skip_current_image: bool = False):
        from modules import progress as tasks

        answer = engine.progress()
        state = engine.state
        image = None
        if not skip_current_image and state.job_count != 0:
            state.set_current_image()
            image = encode_image(state.current_image) if state.current_image is not None else None
        return {**answer, "current_image": image, "current_task": tasks.current_task}

    @app.post("/sdapi/v1/interrupt")
    def interrupt():
        engine.interrupt()
        return {}

    @app.post("/sdapi/v1/skip")
    def skip():
        engine.skip()
        return {}

    @app.get("/sdapi/v1/options")
    def get_options():
        return {k: engine.opts.data.get(k, v.default) for k, v in engine.opts.data_labels.items() if not v.do_not_save}

    @app.post("/sdapi/v1/options")
    def set_options(body: dict[str, Any] = Body(default={})):  # noqa: B008
        unknown = engine.set_options(body)
        return {"unknown": unknown} if unknown else None

    @app.get("/sdapi/v1/cmd-flags")
    def cmd_flags():
        from modules import shared

        return vars(shared.cmd_opts)
