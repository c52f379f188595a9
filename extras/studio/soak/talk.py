"""Starts a Studio for a soak, asks it over HTTP and for its account."""

from __future__ import annotations

import http.client
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from extras.studio.commands.environment import ROOT
from extras.studio.soak.studio import MARK


class Studio:
    """Open while used as a context. RuntimeError where it does not start or answer."""

    def __init__(self, outputs: Path, checkpoint: Path | None = None, patience: float = 300.0):
        self._command = [sys.executable, "-m", "extras.studio.soak.studio", str(outputs)]
        self._command += [str(checkpoint.resolve())] if checkpoint else []
        self._patience = patience
        self._said: queue.Queue[Any] = queue.Queue()
        self._lock = threading.Lock()
        self.log: list[str] = []

    def __enter__(self) -> Studio:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.port = int(self._next())
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                self._said.put(json.loads(line[len(MARK) :]))
            else:
                self.log = [*self.log[-40:], line]
        self._said.put(None)

    def _next(self) -> Any:
        try:
            said = self._said.get(timeout=self._patience)
        except queue.Empty:
            said = None
        if said is None:
            raise RuntimeError("the Studio does not answer:\n" + "".join(self.log))
        return said

    def told(self, what: str) -> Any:
        """Its "rss", in bytes, at once; or its "account", when no job runs."""
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
            return self._next()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """(status, answer)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self._patience)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/sdapi/v1/{path}", data, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
