"""From the JSON of a request to the engine's fields and the scripts' arguments."""

from __future__ import annotations

from typing import Any

from extras.studio.fields import FieldError


class TooLarge(Exception):
    """A picture with more pixels than are read."""


def _names(scripts) -> str:
    return ", ".join(repr(s.name) for s in scripts if s.name) or "none (no script of that kind is loaded)"


def read_request(engine, tab: str, body: dict) -> tuple[dict, dict[int, Any]]:
    """(fields, script arguments by index): the body's own, and what its ``infotext`` says about all others."""
    fields = {k: v for k, v in body.items() if k not in ("init_images", "mask")}
    script_values: dict[int, Any] = {}
    infotext = body.get("infotext")
    if infotext is not None and not isinstance(infotext, str):
        raise FieldError("infotext", infotext, "text")
    if infotext:
        found, script_values = engine.read_infotext(infotext, tab)
        overrides = {**found.pop("override_settings", {}), **(fields.get("override_settings") or {})}
        fields = {**found, **{k: v for k, v in fields.items() if v is not None}, "override_settings": overrides}
        if "sampler_index" in body and "sampler_name" not in body:
            fields["sampler_name"] = body["sampler_index"]
    save = bool(body.get("save_images", False))
    fields["do_not_save_samples"] = fields["do_not_save_grid"] = not save
    return fields, script_values


def script_args_of(engine, tab: str, body: dict, script_values: dict[int, Any]) -> list:
    """The flat argument list: defaults, then the infotext's, then ``alwayson_scripts`` and ``script_args``.

    ``alwayson_scripts`` is {name in any case: {"args": [...]}}, positional; fewer than the script has is fine.
    """
    runner = engine.runner(tab)
    args = engine.default_script_args(tab)
    for index, value in script_values.items():
        args[index] = value
    name = body.get("script_name")
    if name:
        found = next((i for i, s in enumerate(runner.selectable_scripts) if (s.name or "") == str(name).lower()), None)
        if found is None:
            raise FieldError("script_name", name, f"one of {_names(runner.selectable_scripts)}")
        script = runner.selectable_scripts[found]
        given = _list("script_args", body.get("script_args") or [])
        _put(args, script, given)
        args[0] = found + 1
    always = body.get("alwayson_scripts") or {}
    if not isinstance(always, dict):
        raise FieldError("alwayson_scripts", always, 'an object such as {"script name": {"args": []}}')
    for name, entry in always.items():
        script = next((s for s in runner.scripts if (s.name or "") == str(name).lower()), None)
        if script is None:
            raise FieldError("alwayson_scripts", name, f"one of {_names(runner.alwayson_scripts)} (script not found)")
        if not script.alwayson:
            raise FieldError("alwayson_scripts", name, "an always-on script; a selectable one goes into script_name")
        if not isinstance(entry, dict):
            raise FieldError(f"alwayson_scripts.{name}", entry, 'an object such as {"args": []}')
        _put(args, script, _list(f"alwayson_scripts.{name}.args", entry.get("args", [])))
    return args


def _list(field: str, value) -> list:
    if not isinstance(value, list):
        raise FieldError(field, value, "a list of values in the order of the script's controls")
    return value


def _put(args: list, script, given: list) -> None:
    """``given`` into the script's slice; more than it has are dropped, as in A1111."""
    count = min(len(given), script.args_to - script.args_from)
    args[script.args_from : script.args_from + count] = given[:count]
