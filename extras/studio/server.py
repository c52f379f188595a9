"""The Studio as a web server on this machine only: the page at /, the HTTP API at /sdapi/v1."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from extras.studio.guard import OnlyFromHere, fetch_nothing, limit_pictures

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


class PortTaken(OSError):
    """The port cannot be had; the message says what to do."""


def claim_port(port: int) -> socket.socket:
    """A socket bound to 127.0.0.1:``port`` (0: any free one). PortTaken before anything slow has been loaded."""
    claimed = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where SO_REUSEADDR would share the port
        claimed.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        claimed.bind((HOST, port))
        claimed.listen(128)
    except OSError as error:
        claimed.close()
        raise PortTaken(
            f"port {port} cannot be used ({error.strerror}): choose another with --port, or --port 0 for any free one"
        ) from None
    return claimed


def serve(app: Any, claimed: socket.socket, ready: Callable[[], None]) -> None:
    """Answer on the claimed socket until interrupted; ``ready`` is called once, when requests are answered."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, ws="none"))

    def wait() -> None:
        while not server.started and not server.should_exit:
            time.sleep(0.02)
        if server.started:
            settle()
            ready()

    threading.Thread(target=wait, daemon=True).start()
    server.run(sockets=[claimed])


def settle() -> None:
    """What is loaded by now is for good: half a million objects. The collector leaves them out from now on, and so
    looks at all others often; else the remains of many pictures wait for it."""
    gc.collect()
    gc.freeze()


def create(ckpt: Path | None = None, outputs: Path | None = None) -> Any:
    """The FastAPI app with page and API, the model loaded. CheckpointError or FileNotFoundError when there is none.

    ``ckpt``: a checkpoint to open instead of the small student; ``outputs``: where pictures go (default: outputs/).
    """
    from extras.studio.engine import Engine

    return app_of(Engine(ROOT / "models", ROOT, outputs or ROOT / "outputs", ckpt=ckpt).load())


def app_of(engine: Any) -> Any:
    """The same for a loaded engine."""
    import gradio as gr
    from fastapi import FastAPI

    from extras.nag.hosts.webui.loaded import loaded_layers
    from extras.nag.ui.http_api import add_routes
    from extras.studio import page
    from modules import extensions

    outputs = str(engine.outputs_dir)
    Path(outputs).mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = os.path.join(outputs, "browser-cache")
    fetch_nothing()
    limit_pictures()
    app = FastAPI(title="NAG Time Studio", docs_url=None, redoc_url=None)
    blocks = page.build(engine)
    css, head = _assets(app, page.ASSETS, extensions.active())
    engine.create_api(app)  # before the mount, which takes every other path
    add_routes(app, loaded_layers, prefix="")  # scripts register them under a prefix only
    blocks.has_launched = True  # else Gradio lets an event name any file of this machine as its upload
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=HOST,
        css=css,
        head=head,
        theme=theme(),
        footer_links=[],
        show_error=True,
        allowed_paths=[outputs],
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        max_file_size="64mb",
    )
    app.add_middleware(OnlyFromHere)
    return app


def theme() -> Any:
    """System fonts only: nothing is fetched from anywhere."""
    import gradio as gr

    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    made = gr.themes.Base(
        primary_hue="rose",
        secondary_hue="rose",
        neutral_hue="slate",
        radius_size="md",
        spacing_size="sm",
        text_size="sm",
        font=fonts,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )
    return made.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_300",
        block_title_text_weight="500",
        block_title_text_size="*text_sm",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        block_info_text_size="*text_xs",
        input_background_fill="white",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
        slider_color="*primary_500",
        input_border_width="1px",
        input_border_color="*neutral_200",
        input_border_color_dark="*neutral_700",
        input_padding="6px 9px",
        button_large_text_size="*text_lg",
        button_large_text_weight="500",
        button_large_padding="6px 12px",
        button_large_radius="*radius_md",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_700",
        button_secondary_text_color_dark="white",
        button_cancel_background_fill="*neutral_100",
        button_cancel_background_fill_dark="*neutral_700",
        button_cancel_text_color="*neutral_800",
        button_cancel_text_color_dark="white",
    )


def _assets(app: Any, own: Path, extensions: list[Any]) -> tuple[str, str]:
    """(all CSS, HTML for the head); the scripts are served one by one from a fixed table, never by path."""
    from fastapi import HTTPException
    from fastapi.responses import FileResponse

    first = own / "studio.js"  # the names that the others call
    scripts: dict[str, str] = {path.name: str(path) for path in (first, *sorted(set(own.glob("*.js")) - {first}))}
    styles = [(own / "studio.css").read_text("utf-8")]
    for number, extension in enumerate(extensions):
        for file in extension.list_files("javascript", ".js"):
            scripts[f"{number}-{file.filename}"] = file.path
        style = Path(extension.path) / "style.css"
        if style.is_file():
            styles.append(style.read_text("utf-8"))

    @app.get("/studio/javascript/{name}", include_in_schema=False)
    def script(name: str) -> FileResponse:
        if name not in scripts:
            raise HTTPException(404, "no such script")
        return FileResponse(scripts[name], media_type="text/javascript")

    head = f"<style>{(own / 'frame.css').read_text('utf-8')}</style>"
    head += "".join(f'<script src="/studio/javascript/{name}"></script>' for name in scripts)
    return "\n".join(styles), head
