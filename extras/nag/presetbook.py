"""Presets: named settings as JSON files. Ours ship in presets/, the user's own live in a folder beside
them."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .field import SettingsError
from .fields import check_values

BUILTIN = Path(__file__).resolve().parent / "presets"
_NAME = re.compile(r"[^\W_][\w .+-]{0,59}")  # letters of any script
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # not file names on Windows
_BYTES = 200  # file systems allow 255, endings included
_NAME_RULE = "1 to 60 letters, digits, spaces, . _ + -, beginning with a letter or digit"
_TAKEN_RULE = "a name that no preset of the extension has"
_REPLACE_RULE = "a new name; to replace the preset of that name, choose it in the list first"
_DELETE_RULE = "one of your own presets"
RULES = (_NAME_RULE, _TAKEN_RULE, _REPLACE_RULE, _DELETE_RULE)
"""What is said to be allowed where a preset cannot be saved or deleted."""
_HOST_KEYS = ("sampler", "scheduler", "steps", "cfg")


@dataclass(frozen=True)
class Preset:
    """``settings``: the options it sets. ``host``: hints (sampler, scheduler, steps, cfg), offered, never
    forced. ``match``: what in a model's or LoRA's name suggests it (regular expressions, small letters)."""

    name: str
    source: str = ""
    note: str = ""
    host: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    builtin: bool = False
    match: tuple[str, ...] = ()


def user_folder() -> Path:
    """Where own presets are kept: $NAG_TIME_PRESETS, else presets/user beside ours."""
    return Path(os.environ.get("NAG_TIME_PRESETS") or BUILTIN / "user")


def list_presets(folder: Path | None = None) -> list[str]:
    """Names, ours first. A file whose content cannot be read is listed too; load_preset says why."""
    names = list(_builtin())
    own = folder or user_folder()
    if own.is_dir():
        names += sorted(p.stem for p in own.glob("*.json") if _NAME.fullmatch(p.stem) and p.stem not in names)
    return names


def load_builtin() -> list[Preset]:
    """Ours, in the order of the list."""
    return [_read(path, builtin=True) for path in _builtin().values()]


def load_preset(name: str, folder: Path | None = None) -> Preset:
    """The preset of that name. SettingsError if there is none or its file is not valid."""
    if name in _builtin():
        return _read(_builtin()[name], builtin=True)
    path = _own_path(name, folder)
    if not path.is_file():
        raise SettingsError("preset", name, "one of " + ", ".join(list_presets(folder)))
    return _read(path, builtin=False)


def save_preset(
    name: str,
    settings: dict[str, Any],
    note: str = "",
    host: dict[str, Any] | None = None,
    folder: Path | None = None,
    replace: bool = True,
) -> Path:
    """Save own settings under a name; ours cannot be replaced, an own one of that name only with ``replace``."""
    path = _own_path(name, folder)
    if path.stem.casefold() in map(str.casefold, _builtin()):
        raise SettingsError("preset", name, _TAKEN_RULE)
    if not replace and path.stem.casefold() in map(str.casefold, list_presets(folder)):
        raise SettingsError("preset", name, _REPLACE_RULE)
    hints = {k: v for k, v in (host or {}).items() if k in _HOST_KEYS}
    data = {"name": path.stem, "source": "own", "note": note, "host": hints, "settings": check_values(settings)}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def delete_preset(name: str, folder: Path | None = None) -> Path:
    """Take an own preset off the list. SettingsError for ours and for unknown names. Returns where its file is
    kept, until a preset of that name is deleted again."""
    path = _own_path(name, folder)
    if path.stem in _builtin() or not path.is_file():
        raise SettingsError("preset", name, _DELETE_RULE)
    kept = path.with_name(path.name + ".deleted")
    path.replace(kept)
    return kept


def _own_path(name: str, folder: Path | None) -> Path:
    """The file of an own preset; the name can neither leave the folder nor name a device."""
    name = unicodedata.normalize("NFC", name) if isinstance(name, str) else name
    if (
        not isinstance(name, str)
        or not _NAME.fullmatch(name)
        or name.endswith((".", " "))
        or _DEVICE.fullmatch(name)
        or len(name.encode("utf-8")) > _BYTES
    ):
        raise SettingsError("preset", name, _NAME_RULE)
    return (folder or user_folder()) / f"{name}.json"


def _builtin() -> dict[str, Path]:
    return {str(json.loads(p.read_text(encoding="utf-8"))["name"]): p for p in sorted(BUILTIN.glob("*.json"))}


def _read(path: Path, builtin: bool) -> Preset:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError("preset", path.name, f"a readable JSON file ({error})") from None
    if not isinstance(data, dict) or not isinstance(data.get("settings"), dict):
        raise SettingsError("preset", path.name, 'a JSON object with "name" and "settings"')
    host = data.get("host")
    return Preset(
        name=str(data.get("name", path.stem)) if builtin else path.stem,
        source=str(data.get("source", "")),
        note=str(data.get("note", "")),
        host=host if isinstance(host, dict) else {},
        settings=check_values(data["settings"]),
        builtin=builtin,
        match=tuple(data.get("match", ())) if builtin else (),
    )
