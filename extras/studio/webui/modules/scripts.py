"""Loads the extensions' scripts. `Script`, `AlwaysVisible` and `ScriptRunner` are imported from here."""

from __future__ import annotations

import inspect
import os
import sys
from collections import namedtuple

from modules import errors, extensions, paths_internal, script_callbacks, script_loading, timer
from modules.script_base import (  # noqa: F401
    AlwaysVisible,
    MaskBlendArgs,
    OnComponent,
    PostprocessBatchListArgs,
    PostprocessImageArgs,
    PostProcessMaskOverlayArgs,
    PostSampleArgs,
    Script,
    ScriptBuiltinUI,
)
from modules.script_runner import ScriptRunner, wrap_call  # noqa: F401

ScriptFile = extensions.ScriptFile
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data: list = []
postprocessing_scripts_data: list = []
current_basedir = paths_internal.script_path

scripts_txt2img: ScriptRunner = ScriptRunner()
scripts_img2img: ScriptRunner = ScriptRunner()
scripts_current: ScriptRunner | None = None
scripts_postproc = None


def basedir() -> str:
    """The folder of the extension whose script is being loaded; the host's own folder at any other time."""
    return current_basedir


def list_scripts(scriptdirname, extension, *, include_extensions=True):
    return (
        [f for ext in extensions.active() for f in ext.list_files(scriptdirname, extension)]
        if include_extensions
        else []
    )


def list_files_with_name(filename):
    found = (os.path.join(ext.path, filename) for ext in extensions.active())
    return [path for path in found if os.path.isfile(path)]


def load_scripts() -> None:
    """Execute every scripts/*.py of every extension, anew, and make fresh runners.

    The extension's root is first on ``sys.path`` only while one of its files executes, and the modules are
    not in ``sys.modules``. A file that fails is reported and skipped.
    """
    global current_basedir, scripts_txt2img, scripts_img2img
    scripts_data.clear()
    postprocessing_scripts_data.clear()
    script_callbacks.clear_callbacks()
    syspath = sys.path
    for file in list_scripts("scripts", ".py"):
        try:
            sys.path = [file.basedir, *syspath]
            current_basedir = file.basedir
            module = script_loading.load_module(file.path)
            for value in list(vars(module).values()):
                if inspect.isclass(value) and issubclass(value, Script):
                    scripts_data.append(ScriptClassData(value, file.path, file.basedir, module))
        except Exception:
            errors.report(f"Error loading script: {file.filename}", exc_info=True)
        finally:
            sys.path = syspath
            current_basedir = paths_internal.script_path
            timer.startup_timer.record(file.filename)
    scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()


reload_scripts = load_scripts
