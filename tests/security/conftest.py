"""A real Studio on a real socket, and a watch on what its threads open, connect to and unpickle."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in ("tests/faults", "tests/studio"):
    sys.path.append(str(ROOT / folder))  # makers of small checkpoints

SMALL = {
    "prompt": "a nerd", "steps": 1, "width": 64, "height": 64, "seed": 7, "cfg_scale": 1, "sampler_name": "Euler",
    "scheduler": "Simple",
}  # fmt: skip


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


@dataclass
class Served:
    """A Studio that answers on 127.0.0.1:``port``."""

    port: int
    models: Path
    outputs: Path

    def ask(self, method: str, path: str, body=None, headers=None) -> tuple[int, bytes]:
        """(status, body); headers win over the usual ones."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, path: str, **body) -> tuple[int, dict]:
        status, data = self.ask("POST", f"/sdapi/v1/{path}", body)
        return status, json.loads(data or b"null")

    def get(self, path: str):
        return json.loads(self.ask("GET", f"/sdapi/v1/{path}")[1])

    def draw(self, tab: str = "txt2img", **fields) -> tuple[int, dict]:
        return self.post(tab, **{**SMALL, **fields})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    import uvicorn
    from nano import nano

    from extras.studio import server
    from extras.studio.engine import Engine

    models, outputs = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("outputs")
    (models / "tokenizer").symlink_to(ROOT / "models" / "tokenizer")
    (models / "Lora").mkdir()
    nano(models / "alpha.safetensors", seed=0)
    app = server.app_of(Engine(models, ROOT, outputs, ckpt=models / "alpha.safetensors").load())
    claimed = server.claim_port(0)
    serving = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [claimed]}, daemon=True)
    thread.start()
    studio = Served(claimed.getsockname()[1], models, outputs)
    assert studio.ask("GET", "/sdapi/v1/samplers")[0] == 200
    yield studio
    serving.should_exit = True
    thread.join(10)
