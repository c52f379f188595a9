"""`python nagtime.py models --webui PATH [--undo]`: the small models in a WebUI's folders, and out again exactly.

Needs nothing installed. A manifest beside the copied files says what was put there, with a checksum each; undo takes
out what is unchanged and says what it left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from extras.studio.commands.environment import ROOT

MODELS = ROOT / "models"
NAMES = ("doodle-base", "doodle-student")
LORA = "doodle-student-lora.safetensors"
ENCODER_FILES = ("config.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json")
MANIFEST = "nag-time-models.json"
VERSION_LINE = re.compile(r"^(\s*version:[ \t]*)\S.*$", re.MULTILINE)
"""Where a CompVis yaml names the folder of the text encoder's config and tokenizer."""

WANTED = ("webui.py", "modules/sd_models.py", "modules/processing.py")


class ModelsError(Exception):
    """Nothing was changed. One line, with what to do."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="nagtime.py models", description="Put the small models into a WebUI's folders."
    )
    parser.add_argument(
        "--webui", type=Path, required=True, metavar="PATH", help="the WebUI's folder, the one with webui.py in it"
    )
    parser.add_argument("--undo", action="store_true", help="take them out again")
    options = parser.parse_args(argv)
    try:
        webui = check_webui(options.webui)
        for line in remove(webui) if options.undo else copy(webui):
            print(line)
    except ModelsError as error:
        print(f"nagtime models: {error}", file=sys.stderr)
        return 1
    return 0


def check_webui(path: Path) -> Path:
    """The absolute folder of a WebUI that can open these models. ModelsError names what was looked for."""
    path = path.expanduser().resolve()
    missing = [name for name in WANTED if not (path / name).is_file()]
    if missing:
        raise ModelsError(f"{path} is not a WebUI: {', '.join(missing)} not found there")
    if (path / "modules_forge").is_dir() or (path / "ldm_patched").is_dir():
        raise ModelsError(
            f"{path} is of the Forge family, which knows a checkpoint by its shapes and cannot open models as "
            "small as these; AUTOMATIC1111's WebUI can"
        )
    return path


def copy(webui: Path, source: Path = MODELS) -> list[str]:
    """Copy both checkpoints, their yaml, the text encoder's folder, and the LoRA where there is a folder for it.
    Returns the lines to print."""
    wanted = plan(webui, source)
    manifest = _manifest_file(webui)
    ours = _read_manifest(manifest)
    foreign = [
        str(target)
        for target in wanted
        if target.exists() and ours.get(_key(webui, target)) != _sha256(target.read_bytes())
    ]
    if foreign:
        raise ModelsError(f"{foreign[0]} exists and is not ours (or was changed); move it away first")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    # written before the files: what a broken-off copy left behind can be undone
    files = {_key(webui, target): _sha256(content) for target, content in wanted.items()}
    manifest.write_text(json.dumps({"files": files}, indent=1) + "\n", "utf-8")
    for target, content in wanted.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return [f"copied {target}" for target in wanted if target.suffix == ".safetensors"] + [
        "Refresh the checkpoint list in the WebUI and choose doodle-student; 4 steps, CFG 1, 128 x 128.",
        f'To take them out again: python nagtime.py models --webui "{webui}" --undo',
    ]


def remove(webui: Path) -> list[str]:
    """Undo `copy`: delete what is unchanged since, and folders that it made and that are empty now."""
    manifest = _manifest_file(webui)
    if not manifest.is_file():
        raise ModelsError(f"nothing to undo: there is no {manifest}")
    lines = []
    for key, digest in _read_manifest(manifest).items():
        target = webui / key
        if not _is_below_models(key) or not target.is_file():
            continue
        if _sha256(target.read_bytes()) == digest:
            target.unlink()
            lines.append(f"removed {target}")
        else:
            lines.append(f"left {target}: it was changed since")
    manifest.unlink()
    folder = _encoder_folder(webui)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return lines


def plan(webui: Path, source: Path) -> dict[Path, bytes]:
    """{file in the WebUI: its content}. ModelsError when our own models are incomplete."""
    checkpoints, encoder = webui / "models" / "Stable-diffusion", _encoder_folder(webui)
    wanted: dict[Path, bytes] = {}
    try:
        for name in NAMES:
            wanted[checkpoints / f"{name}.safetensors"] = (source / f"{name}.safetensors").read_bytes()
            text = (source / f"{name}.yaml").read_text("utf-8")
            wanted[checkpoints / f"{name}.yaml"] = with_encoder(text, encoder).encode()
        for name in ENCODER_FILES:
            wanted[encoder / name] = (source / "tokenizer" / name).read_bytes()
        if (webui / "models" / "Lora").is_dir():
            wanted[webui / "models" / "Lora" / LORA] = (source / "Lora" / LORA).read_bytes()
    except FileNotFoundError as error:
        raise ModelsError(
            f"{error.filename} is missing: the small models are not complete here "
            "(`python nagtime.py train-tiny` makes them)"
        ) from None
    return wanted


def with_encoder(text: str, folder: Path) -> str:
    """The yaml with the text encoder's folder filled in, as a quoted yaml string."""
    quoted = "'" + str(folder).replace("'", "''") + "'"
    text, found = VERSION_LINE.subn(lambda match: match[1] + quoted, text)
    if found != 1:
        raise ModelsError(f"the yaml of the small models names the text encoder's folder {found} times instead of once")
    return text


def _encoder_folder(webui: Path) -> Path:
    return webui / "models" / "nag-time-doodle"


def _manifest_file(webui: Path) -> Path:
    return webui / "models" / "Stable-diffusion" / MANIFEST


def _read_manifest(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8"))["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelsError(
            f"{path} cannot be read ({error}): delete it and the doodle-* files beside it by hand"
        ) from None


def _is_below_models(key: str) -> bool:
    """Whether a name of the manifest can be ours. A folder that is a link is followed, as the WebUI follows it."""
    parts = PurePosixPath(key).parts
    return parts[:1] == ("models",) and ".." not in parts and "\\" not in key


def _key(webui: Path, target: Path) -> str:
    return target.relative_to(webui).as_posix()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
