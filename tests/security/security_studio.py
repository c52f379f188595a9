"""A real Studio on a real socket, to be attacked."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "prompt": "a nerd", "steps": 1, "width": 64, "height": 64, "seed": 7, "cfg_scale": 1, "sampler_name": "Euler",
    "scheduler": "Simple",
}  # fmt: skip


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


@contextlib.contextmanager
def serving(models: Path, outputs: Path, checkpoint: str = "alpha"):
    """A Studio with a small random model of that name, while open."""
    import uvicorn
    from nano import nano

    from extras.studio import server
    from extras.studio.engine import Engine

    (models / "tokenizer").symlink_to(ROOT / "models" / "tokenizer")
    (models / "Lora").mkdir()
    path = models / f"{checkpoint}.safetensors"
    nano(path, seed=0)
    app = server.app_of(Engine(models, ROOT, outputs, ckpt=path).load())
    claimed = server.claim_port(0)
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [claimed]}, daemon=True)
    thread.start()
    try:
        studio = Served(claimed.getsockname()[1], models, outputs)
        assert studio.ask("GET", "/sdapi/v1/samplers")[0] == 200
        yield studio
    finally:
        running.should_exit = True
        thread.join(10)
