"""`python nagtime.py`: the Studio on 127.0.0.1, and the browser at its page."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

DEFAULT_PORT = 7870

# before any import that reads them: nothing is sent or fetched
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("DIFFUSERS_OFFLINE", "1")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nagtime.py", description="Open the Studio, a page on 127.0.0.1.")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help=f"0 to 65535, 0 for any free one (default {DEFAULT_PORT})"
    )
    parser.add_argument(
        "--ckpt",
        type=Path,
        metavar="PATH",
        help="a checkpoint of yours: a .safetensors file (SD 1.x, 2.x, SDXL), or diffusers' folder (SD3, Flux, Chroma)",
    )
    parser.add_argument("--outputs", type=Path, metavar="FOLDER", help="where pictures go (default: outputs/)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser.parse_args(argv)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; allowed is 0 to 65535")
    return int(text)


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    from extras.studio import server

    try:
        claimed = server.claim_port(options.port)
    except server.PortTaken as error:
        print(f"nagtime: {error}", file=sys.stderr)
        return 1
    url = f"http://{server.HOST}:{claimed.getsockname()[1]}"
    print("Loading the Studio ...", flush=True)
    from extras.studio.checkpoint_files import CheckpointError

    try:
        app = server.create(options.ckpt, options.outputs)
    except (CheckpointError, FileNotFoundError) as error:
        claimed.close()
        print(f"nagtime: {error}", file=sys.stderr)
        return 1

    def ready() -> None:
        print(f"The Studio is at {url} (Ctrl+C ends it)", flush=True)
        if not options.no_browser:
            webbrowser.open(url)

    server.serve(app, claimed, ready)
    return 0
