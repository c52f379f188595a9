"""`python nagtime.py pictures [NAME …]`: the pictures of README.md and docs/ again."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from extras.studio.commands.environment import ROOT

PICTURES = {
    "rule": "docs/HOW.md: the rule on features of two numbers (rule.svg)",
    "parameters": "README.md: what scale, tau, alpha and the window do (parameters.png, parameters.json)",
    "panel": "README.md: half a minute of the page (panel.webp); needs Chromium",
}


def main(argv: Sequence[str]) -> int:
    lines = [f"  {name:<11} {about}" for name, about in PICTURES.items()]
    parser = argparse.ArgumentParser(
        prog="nagtime.py pictures",
        description=__doc__,
        epilog="\n".join(["pictures:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "pictures", metavar="FOLDER", help="default: docs/pictures"
    )
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in PICTURES]
    if unknown:
        parser.error(f"NAME: {unknown[0]!r} is not known, allowed: {', '.join(PICTURES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or PICTURES:
        module = importlib.import_module(f"extras.studio.pictures.{name}")
        for path in module.draw(options.out):
            print(f"{path} ({path.stat().st_size / 1000:.0f} kB)", flush=True)
    return 0
