"""Callbacks an extension registers (`on_*`) and the host fires (`*_callback`).

A failing callback is printed and the next one runs: nothing a callback raises reaches the sampler.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from modules import errors, extensions
from modules.callback_params import (  # noqa: F401
    AfterCFGCallbackParams,
    BeforeTokenCounterParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    ExtraNoiseParams,
    ImageGridLoopParams,
    ImageSaveParams,
    UiTrainTabParams,
)

CATEGORIES = (
    "app_started",
    "on_reload",
    "model_loaded",
    "ui_tabs",
    "ui_train_tabs",
    "ui_settings",
    "before_image_saved",
    "image_saved",
    "extra_noise",
    "cfg_denoiser",
    "cfg_denoised",
    "cfg_after_cfg",
    "before_component",
    "after_component",
    "image_grid",
    "infotext_pasted",
    "script_unloaded",
    "before_ui",
    "list_optimizers",
    "list_unets",
    "before_token_counter",
)


@dataclass
class ScriptCallback:
    script: str
    callback: Any
    name: str = "unnamed"


callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{c}": [] for c in CATEGORIES}
ordered_callbacks_map: dict = {}


def _caller() -> str:
    """The file of the first frame outside this module."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else "unknown file"


def add_callback(callbacks, fun, *, name=None, category="unknown", filename=None) -> None:
    """Append ``fun`` under a unique name extension/file/category[/name]."""
    filename = filename or _caller()
    extension = extensions.find_extension(filename)
    base = f"{extension.canonical_name if extension else 'base'}/{os.path.basename(filename)}/{category}"
    base += f"/{name}" if name is not None else ""
    taken, unique, n = {c.name for c in callbacks}, base, 0
    while unique in taken:
        n += 1
        unique = f"{base}-{n}"
    callbacks.append(ScriptCallback(filename, fun, unique))


def sort_callbacks(category, unordered_callbacks, *, enable_user_sort=True):
    """In registration order: the Studio has no ordering metadata."""
    return list(unordered_callbacks)


def ordered_callbacks(category, unordered_callbacks=None, *, enable_user_sort=True):
    return list(callback_map.get("callbacks_" + category, []) if unordered_callbacks is None else unordered_callbacks)


def enumerate_callbacks():
    for category, callbacks in callback_map.items():
        yield category.removeprefix("callbacks_"), callbacks


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()
    ordered_callbacks_map.clear()


def remove_current_script_callbacks() -> None:
    """Remove every callback that the calling file has registered."""
    filename = _caller()
    for callbacks in callback_map.values():
        callbacks[:] = [c for c in callbacks if c.script != filename]


def remove_callbacks_for_function(callback_func) -> None:
    for callbacks in callback_map.values():
        callbacks[:] = [c for c in callbacks if c.callback != callback_func]


def _fire(category: str, *args, newest_first: bool = False, **kwargs) -> list:
    """Call all callbacks of the category; what they return, without the failed ones."""
    callbacks, results = ordered_callbacks(category), []
    for c in reversed(callbacks) if newest_first else callbacks:
        try:
            results.append(c.callback(*args, **kwargs))
        except Exception:
            errors.report(f"Error executing callback {category}_callback for {c.script}", exc_info=True)
    return results


def app_started_callback(demo, app):
    _fire("app_started", demo, app)


def app_reload_callback():
    _fire("on_reload")


def model_loaded_callback(sd_model):
    _fire("model_loaded", sd_model)


def ui_tabs_callback() -> list:
    return [tab for tabs in _fire("ui_tabs") for tab in tabs or []]


def ui_train_tabs_callback(params):
    _fire("ui_train_tabs", params)


def ui_settings_callback():
    _fire("ui_settings")


def before_image_saved_callback(params):
    _fire("before_image_saved", params)


def image_saved_callback(params):
    _fire("image_saved", params)


def extra_noise_callback(params):
    _fire("extra_noise", params)


def cfg_denoiser_callback(params):
    _fire("cfg_denoiser", params)


def cfg_denoised_callback(params):
    _fire("cfg_denoised", params)


def cfg_after_cfg_callback(params):
    _fire("cfg_after_cfg", params)


def before_component_callback(component, **kwargs):
    _fire("before_component", component, **kwargs)


def after_component_callback(component, **kwargs):
    _fire("after_component", component, **kwargs)


def image_grid_callback(params):
    _fire("image_grid", params)


def infotext_pasted_callback(infotext: str, params: dict):
    _fire("infotext_pasted", infotext, params)


def script_unloaded_callback():
    _fire("script_unloaded", newest_first=True)


def before_ui_callback():
    _fire("before_ui", newest_first=True)


def before_token_counter_callback(params):
    _fire("before_token_counter", params)


def _list(category) -> list:
    found: list = []
    _fire(category, found)
    return found


def list_optimizers_callback() -> list:
    return _list("list_optimizers")


def list_unets_callback() -> list:
    return _list("list_unets")


def _registrar(category: str, doc: str):
    def on(callback, *, name=None):
        add_callback(callback_map[f"callbacks_{category}"], callback, name=name, category=category)

    on.__doc__ = doc
    on.__name__ = on.__qualname__ = f"on_{category}"
    return on


on_app_started = _registrar("app_started", "callback(demo, app) once the server is up.")
on_before_reload = _registrar("on_reload", "callback() before the page is rebuilt.")
on_model_loaded = _registrar("model_loaded", "callback(sd_model) whenever a model's weights have been loaded.")
on_ui_tabs = _registrar("ui_tabs", "callback() returns [(gr.Blocks, title, elem_id)] or None.")
on_ui_train_tabs = _registrar("ui_train_tabs", "callback(params); the Studio has no training tab.")
on_ui_settings = _registrar("ui_settings", "callback() declares settings with shared.opts.add_option.")
on_before_image_saved = _registrar("before_image_saved", "callback(ImageSaveParams), whose fields may be changed.")
on_image_saved = _registrar("image_saved", "callback(ImageSaveParams) after a picture was written.")
on_extra_noise = _registrar("extra_noise", "callback(ExtraNoiseParams) before img2img's extra noise.")
on_cfg_denoiser = _registrar("cfg_denoiser", "callback(CFGDenoiserParams) before each model call.")
on_cfg_denoised = _registrar("cfg_denoised", "callback(CFGDenoisedParams) after each model call.")
on_cfg_after_cfg = _registrar("cfg_after_cfg", "callback(AfterCFGCallbackParams) after CFG.")
on_before_component = _registrar("before_component", "callback(component, **kwargs) before a component is made.")
on_after_component = _registrar("after_component", "callback(component, **kwargs) after a component is made.")
on_image_grid = _registrar("image_grid", "callback(ImageGridLoopParams) before a grid is drawn.")
on_infotext_pasted = _registrar("infotext_pasted", "callback(infotext, params) before settings are pasted.")
on_script_unloaded = _registrar("script_unloaded", "callback() before the scripts are unloaded.")
on_before_ui = _registrar("before_ui", "callback() before the page is built.")
on_list_optimizers = _registrar("list_optimizers", "callback(list) to add attention optimisers.")
on_list_unets = _registrar("list_unets", "callback(list) to add replacement UNets.")
on_before_token_counter = _registrar("before_token_counter", "callback(BeforeTokenCounterParams).")
