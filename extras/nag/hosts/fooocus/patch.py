"""The lines that Fooocus needs, put in and taken out again. Standard library only.

Every change is an insertion of whole lines, each of which ends in MARK. So what they are can be read here, a tree
shows them by ``grep``, and taking out is deleting the lines with the mark.
"""

from __future__ import annotations

import difflib
import shutil
from dataclasses import dataclass
from pathlib import Path

MARK = "# NAG Time"
LIBRARY = "extras/nag"
_IGNORED = shutil.ignore_patterns("__pycache__")


class TreeError(ValueError):
    """A folder that is no Fooocus, or one in which a place for our lines is not to be found."""


@dataclass(frozen=True)
class Insertion:
    """``lines`` go after (or before) the one line of ``file`` that is ``anchor`` but for blanks at its ends. They take
    its indentation, or ``indent`` blanks where that is given (for an anchor in the middle of a statement)."""

    file: str
    anchor: str
    lines: tuple[str, ...]
    before: bool = False
    indent: int | None = None


INSERTIONS = (
    Insertion("modules/default_pipeline.py", "return images", (
        "",
        "",
        "from extras.nag.hosts import fooocus as nag_time",
        "process_diffusion = nag_time.guided(process_diffusion)",
    ), indent=0),
    Insertion("modules/async_worker.py", "from modules.patch import PatchSettings, patch_settings, patch_all", (
        "from extras.nag.hosts import fooocus as nag_time",
    )),
    Insertion("modules/async_worker.py", "self.images_to_enhance_count = 0", (
        "self.nag_time = nag_time.NagTask.take(args)",
    ), before=True),
    Insertion("modules/async_worker.py", "imgs = pipeline.process_diffusion(", (
        "    nag_time=async_task.nag_time,",
    )),
    Insertion("modules/async_worker.py", "metadata_parser = None", (
        "d += async_task.nag_time.log()",
    ), before=True),
    Insertion("modules/meta_parser.py", "from modules.flags import MetadataScheme, Performance, Steps", (
        "from extras.nag.hosts import fooocus as nag_time",
    )),
    Insertion("modules/meta_parser.py", "return results", (
        "results += nag_time.restored(loaded_parameter_dict)",
    ), before=True),
    Insertion("modules/meta_parser.py", "fooocus_to_a1111 = {", (
        "    'nag_time': 'NAG Time',",
        "    'nag_time_report': 'NAG Time report',",
    )),
    Insertion("modules/meta_parser.py", "if len(self.loras) > 0:", (
        "generation_params |= nag_time.logged(data)",
    ), before=True),
    Insertion("webui.py", "from extras.inpaint_mask import SAMOptions", (
        "from extras.nag.ui import fooocus_panel as nag_time_panel",
    )),
    Insertion("webui.py", "with gr.Tab(label='Advanced'):", (
        "with gr.Tab(label='NAG Time'):",
        "    nag_time_ctrls = nag_time_panel.build(progress_html)",
    ), before=True),
    Insertion("webui.py", "load_parameter_button] + freeu_ctrls + lora_ctrls", (
        "load_data_outputs += nag_time_ctrls",
    ), indent=8),
    Insertion("webui.py", "ctrls += enhance_ctrls", (
        "ctrls += nag_time_ctrls",
    )),
)  # fmt: skip


def changed_files(tree: Path) -> dict[str, str]:
    """File -> its text with our lines. TreeError where the tree is not as we know it; nothing is written."""
    if not (tree / "fooocus_version.py").is_file():
        raise TreeError(f"{tree} is not Fooocus: there is no fooocus_version.py in it")
    result: dict[str, str] = {}
    for insertion in INSERTIONS:
        text = result.get(insertion.file)
        result[insertion.file] = _insert(_read(tree, insertion.file) if text is None else text, insertion)
    return result


def plain_files(tree: Path) -> dict[str, str]:
    """File -> its text without our lines, for those that have any."""
    texts = {file: _read(tree, file) for file in dict.fromkeys(i.file for i in INSERTIONS) if (tree / file).is_file()}
    return {file: _without(text) for file, text in texts.items() if MARK in text}


def difference(tree: Path, files: dict[str, str]) -> str:
    """What writing ``files`` would change, as a unified diff."""
    parts: list[str] = []
    for file, text in files.items():
        old = _read(tree, file).splitlines(keepends=True)
        parts += difflib.unified_diff(old, text.splitlines(keepends=True), f"a/{file}", f"b/{file}")
    return "".join(parts)


def apply(tree: Path, files: dict[str, str], library: Path) -> None:
    """Copy ``library`` (our extras/nag) to where Fooocus finds it, then write the files. A copy that is there goes."""
    target = _library_folder(tree)
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(library, target, ignore=_IGNORED)
    _write(tree, files)


def undo(tree: Path, files: dict[str, str]) -> None:
    """Write the files without our lines and remove our folder."""
    target = _library_folder(tree)
    _write(tree, files)
    if target.is_dir():
        shutil.rmtree(target)


def _library_folder(tree: Path) -> Path:
    """Where our copy is. TreeError for a way out of the tree: what lies there is not ours to delete."""
    target = tree / LIBRARY
    for folder in (target.parent, target):
        if folder.is_symlink():
            raise TreeError(f"{folder} is a link; allowed: a folder, or nothing")
    return target


def _insert(text: str, insertion: Insertion) -> str:
    lines = text.splitlines(keepends=True)
    if any(MARK in line for line in lines if any(new and new.strip() in line for new in insertion.lines)):
        raise TreeError(f"{insertion.file} has our lines already; take them out first (--undo)")
    found = [number for number, line in enumerate(lines) if line.strip() == insertion.anchor]
    if insertion.anchor == "return results":  # of the function that gathers a picture's settings
        start = next((n for n, line in enumerate(lines) if line.startswith("def load_parameter_button_click(")), 0)
        found = [number for number in found if number > start][:1]
    if len(found) != 1:
        raise TreeError(
            f"{insertion.file}: the line '{insertion.anchor}' stands there {len(found)} times, allowed: once. "
            "This is not a Fooocus we know (2.5.x)."
        )
    (place,) = found
    anchor = lines[place]
    end = anchor[len(anchor.rstrip("\r\n")) :] or "\n"
    blanks = anchor[: len(anchor) - len(anchor.lstrip())] if insertion.indent is None else " " * insertion.indent
    new = [f"{blanks}{line}  {MARK}{end}" if line else f"{MARK}{end}" for line in insertion.lines]
    if not insertion.before and anchor == anchor.rstrip("\r\n"):
        lines[place] = anchor + end  # the file's last line ends in nothing
        new[-1] = new[-1].rstrip("\r\n")
    at = place if insertion.before else place + 1
    return "".join([*lines[:at], *new, *lines[at:]])


def _without(text: str) -> str:
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not line.rstrip().endswith(MARK)]
    if lines and kept and lines[-1] not in kept[-1:] and lines[-1] == lines[-1].rstrip("\r\n"):
        kept[-1] = kept[-1].rstrip("\r\n")
    return "".join(kept)


def _read(tree: Path, file: str) -> str:
    try:
        return (tree / file).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TreeError(f"{tree / file} cannot be read: {error}") from None


def _write(tree: Path, files: dict[str, str]) -> None:
    """All new texts are on the disk before the first old one goes."""
    for file, text in files.items():
        (tree / f"{file}.nag-time").write_bytes(text.encode("utf-8"))
    for file in files:
        (tree / f"{file}.nag-time").replace(tree / file)
