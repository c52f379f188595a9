"""The extensions the Studio has been told to load: normally one, ours."""

from __future__ import annotations

import os
from collections import namedtuple

ScriptFile = namedtuple("ScriptFile", ["basedir", "filename", "path"])


class Extension:
    """One extension folder. ``path`` is absolute; ``canonical_name`` is lower case."""

    def __init__(self, name: str, path: str, enabled: bool = True, is_builtin: bool = False):
        self.name, self.path, self.enabled, self.is_builtin = name, os.path.abspath(path), enabled, is_builtin
        self.canonical_name = name.lower().strip()
        self.remote = None
        self.version = self.branch = self.commit_hash = ""
        self.commit_date = None
        self.status = ""

    def list_files(self, subdir: str, extension: str) -> list[ScriptFile]:
        """Files of ``subdir`` with that ending, by name."""
        folder = os.path.join(self.path, subdir)
        if not os.path.isdir(folder):
            return []
        return [
            ScriptFile(self.path, f, os.path.join(folder, f))
            for f in sorted(os.listdir(folder))
            if os.path.splitext(f)[1].lower() == extension and os.path.isfile(os.path.join(folder, f))
        ]

    def read_info_from_repo(self) -> None:
        """Nothing to read: the Studio does not look into version control."""


extensions: list[Extension] = []


def active() -> list[Extension]:
    return [e for e in extensions if e.enabled]


def list_extensions() -> None:
    """The list is the engine's; there is nothing to scan."""


def register(path: str, name: str | None = None) -> Extension:
    """Add the extension at ``path`` unless it is there already."""
    path = os.path.abspath(path)
    for ext in extensions:
        if ext.path == path:
            return ext
    extensions.append(Extension(name or os.path.basename(path), path))
    return extensions[-1]


def find_extension(filename: str) -> Extension | None:
    """The extension that the file belongs to."""
    name = os.path.realpath(filename)
    for ext in extensions:
        root = os.path.realpath(ext.path)
        if name == root or name.startswith(root + os.sep):
            return ext
    return None
