"""Puts the Studio's ``modules`` package on the import path, once, and refuses to mix with another host."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

WEBUI_DIR = Path(__file__).resolve().parent / "webui"


def install() -> None:
    """Make ``import modules`` mean the Studio's. Raises RuntimeError inside another WebUI."""
    present = sys.modules.get("modules")
    if present is not None:
        origin = Path(getattr(present, "__file__", "") or "").resolve()
        if WEBUI_DIR not in origin.parents:
            raise RuntimeError(
                f"cannot start the Studio here: a package named 'modules' is already loaded from {origin}"
            )
        return
    if str(WEBUI_DIR) not in sys.path:
        sys.path.insert(0, str(WEBUI_DIR))
    importlib.invalidate_caches()
    importlib.import_module("modules")
