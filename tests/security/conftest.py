"""A real Studio on a real socket, and a watch on what its threads open, connect to and unpickle."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in ("tests/faults", "tests/studio", "tests/security"):
    sys.path.append(str(ROOT / folder))  # makers of small checkpoints


@dataclass
class Watch:
    """``written``: files opened for writing, renamed or removed; ``read``: opened otherwise; ``asked``: addresses;
    ``unpickled``: names that a pickle asked for; ``run``: commands. Of all threads but ``spared``'s."""

    spared: int = 0
    on: bool = False
    written: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    unpickled: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)

    def see(self, event: str, args: tuple) -> None:
        if not self.on or threading.get_ident() == self.spared:
            return
        if event == "open" and isinstance(args[0], (str, bytes)):
            writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(args[2], int) else 0
            (self.written if writes else self.read).append(os.path.abspath(os.fsdecode(args[0])))
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink"):
            self.written += [os.path.abspath(os.fsdecode(a)) for a in args if isinstance(a, (str, bytes, os.PathLike))]
        elif event in ("socket.connect", "socket.getaddrinfo"):
            self.asked.append(str(args))
        elif event == "pickle.find_class":
            self.unpickled.append(".".join(map(str, args)))
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
            self.run.append(str(args))

    def written_outside(self, *folders: Path) -> list[str]:
        """What was written elsewhere than below the folders."""
        allowed = [str(folder.resolve()) + os.sep for folder in folders]
        paths = [os.path.realpath(path) for path in self.written]
        return [p for p in paths if not any((p + os.sep).startswith(a) for a in allowed) and p != os.devnull]


_watch = Watch()


@pytest.fixture(scope="session")
def hooked():
    sys.addaudithook(_watch.see)  # for the life of the process; it sees only while it is on
    return _watch


@pytest.fixture
def watched(hooked):
    """watched(own_thread=False) opens a Watch: of the Studio's threads, or of the test's as well."""

    @contextlib.contextmanager
    def watch(own_thread: bool = False):
        fresh = Watch(spared=0 if own_thread else threading.get_ident())
        hooked.__dict__.update(fresh.__dict__ | {"on": True})
        try:
            yield hooked
        finally:
            hooked.on = False

    return watch


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from security_studio import serving

    with serving(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("outputs")) as studio:
        yield studio
