"""Executes a script file as a module that is *not* put into ``sys.modules``: as A1111 does."""

from __future__ import annotations

import importlib.util
import os

loaded_scripts: dict[str, object] = {}


def load_module(path: str):
    """Execute the Python file and return its module. Raises whatever the file raises."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded_scripts[path] = module
    return module
