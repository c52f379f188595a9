"""`python nagtime.py pictures [NAME …]`: the pictures of README.md and docs/ again."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from extras.studio.commands.environment import ROOT

PICTURES = {
    "rule": "docs/HOW.md: the rule on features of two numbers (rule.svg)",
    "parameters": "README.md: what scale, tau, alpha and the window do (parameters.png, parameters.json)",
    "panel": "README.md: half a minute of the page (panel.webp); needs Chromium",
    "host": "README.md: the panel in a running WebUI (host.png); needs --host and Chromium",
}
HOST = "host"


def main(argv: Sequence[str]) -> int:
    lines = [f"  {name:<11} {about}" for name, about in PICTURES.items()]
    parser = argparse.ArgumentParser(
        prog="nagtime.py pictures",
        description=__doc__,
        epilog="\n".join(["pictures:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="which ones (default: all but host; with --host, that)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "pictures", metavar="FOLDER", help="default: docs/pictures"
    )
    parser.add_argument("--host", type=address, metavar="URL", help="a WebUI in which this extension runs")
    options = parser.parse_args(argv)
    names = options.names or ([HOST] if options.host else [name for name in PICTURES if name != HOST])
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        parser.error(f"NAME: {unknown[0]!r} is not known, allowed: {', '.join(PICTURES)}")
    if (HOST in names) != bool(options.host):
        parser.error(f"the picture {HOST!r} and --host URL go together")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        module = importlib.import_module(f"extras.studio.pictures.{name}")
        more: dict[str, Any] = {"url": options.host} if name == HOST else {}
        for path in module.draw(options.out, **more):
            print(f"{path} ({path.stat().st_size / 1000:.0f} kB)", flush=True)
    return 0


def address(text: str) -> str:
    """A page's address, as it was given."""
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise argparse.ArgumentTypeError(f"{text!r} is no address, allowed: http://… or https://…")
    return text
