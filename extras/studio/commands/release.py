"""`python nagtime.py release [--out DIR]`: nag-time-VERSION.zip of the committed files, the same bytes every time.

All that git tracks goes in, tests included: both commands of the README work in the unpacked folder, and the tests are
less than a hundredth of it. Nothing else can: contents are read from the commit, not from the folder.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from extras.studio.commands.environment import ROOT

MOST = 60_000_000
"""Bytes of the zip."""
DATE = (1980, 1, 1, 0, 0, 0)
VERSION_FILE = "extras/nag/version.py"


class ReleaseError(Exception):
    """Nothing was written. One line."""


class Tracked(NamedTuple):
    """A file of the commit. ``mode``: as git writes it, 100644 or 100755."""

    path: str
    mode: str
    content: bytes


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="nagtime.py release", description="A zip of the committed files.")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="default: here")
    options = parser.parse_args(argv)
    try:
        path = build(ROOT, options.out)
        if _git(ROOT, "status", "--porcelain", "--untracked-files=no"):
            print("nagtime release: what is not committed is not in it", file=sys.stderr)
    except (ReleaseError, OSError) as error:
        print(f"nagtime release: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    return 0


def build(root: Path, out: Path, most: int = MOST) -> Path:
    """Write the zip of the commit that is checked out at ``root`` into ``out``. ReleaseError where it cannot be."""
    files = list(tracked(root))
    version = _version(files)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"nag-time-{version}.zip"
    draft = path.with_suffix(".part")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(files):
            entry = zipfile.ZipInfo(f"nag-time-{version}/{file.path}", DATE)
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = int(file.mode, 8) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.content)
    size = draft.stat().st_size
    if size > most:
        draft.unlink()
        raise ReleaseError(f"the zip has {size} bytes; allowed: {most}")
    draft.replace(path)
    return path


def tracked(root: Path) -> Iterator[Tracked]:
    """The files of HEAD. ReleaseError for a link or a submodule, which a zip would not carry, and without git."""
    listed = _git(root, "ls-tree", "-r", "-z", "--full-tree", "HEAD").decode().split("\0")[:-1]
    entries = [(head.split(" "), path) for head, _, path in (line.partition("\t") for line in listed)]
    for (mode, _, _), path in entries:
        if mode not in ("100644", "100755"):
            raise ReleaseError(f"{path} is no plain file (mode {mode}); allowed: 100644, 100755")
    asked = "".join(f"{name}\n" for (_, _, name), _ in entries).encode()
    answer = _git(root, "cat-file", "--batch", given=asked)
    place = 0
    for (mode, _, _), path in entries:
        head_end = answer.index(b"\n", place)
        size = int(answer[place:head_end].split()[2])
        yield Tracked(path, mode, answer[head_end + 1 : head_end + 1 + size])
        place = head_end + 1 + size + 1


def _version(files: list[Tracked]) -> str:
    text = next((file.content.decode() for file in files if file.path == VERSION_FILE), "")
    found = [line.partition("=")[2].strip().strip("\"'") for line in text.splitlines() if line.startswith("VERSION")]
    if len(found) != 1 or not found[0]:
        raise ReleaseError(f"{VERSION_FILE} names no VERSION")
    return found[0]


def _git(root: Path, *arguments: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], input=given, capture_output=True)
    except FileNotFoundError:
        raise ReleaseError("git is not installed") from None
    if done.returncode:
        raise ReleaseError(done.stderr.decode("utf-8", "replace").strip().splitlines()[-1])
    return done.stdout
