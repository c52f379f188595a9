"""Running WebUIs (or Studios) over their HTTP API, one or several: each draws one group at a time.

A host that cannot be reached, or stops answering, is told of once; its work goes to the others.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import queue
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from PIL import Image

from ..cells import Cell, Checkpoint
from ..errors import LabError
from . import Result
from .answers import failed, results_of
from .requests import SCRIPT, body_of

PATIENCE = 1800.0
"""Seconds for one group: a host may load a checkpoint first."""
REACH = 15.0
"""Seconds for the first question."""
AUTH = "NAGTIME_API_AUTH"
"""Environment variable: user:password of hosts started with --api-auth. Not an option: commands go into reports."""
TRIES = 3
"""Hosts that a group is given to before it counts as failed."""


class Unreachable(Exception):
    """A host does not answer."""


class Refused(Exception):
    """A host's answer is an error, for the reason in the message."""


class Host:
    """One WebUI."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.before: str | None = None
        self.loaded: str | None = None
        self._warm: set[tuple[Any, ...]] = set()

    def ask(self, path: str, body: dict[str, Any] | None = None, patience: float = REACH) -> Any:
        """The JSON of GET (no body) or POST /sdapi/v1/<path>."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if auth := os.environ.get(AUTH):
            headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        request = urllib.request.Request(f"{self.url}/sdapi/v1/{path}", data, headers, method="POST" if data else "GET")
        try:
            with urllib.request.urlopen(request, timeout=patience) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise Refused(_reason(error)) from None
        except (OSError, ValueError) as error:
            raise Unreachable(str(getattr(error, "reason", None) or error)) from None

    def greet(self) -> None:
        """LabError where it lacks what is needed; Unreachable where it is not there."""
        try:
            names = [name.lower() for name in self.ask("scripts")["txt2img"]]
            self.before = self.ask("options").get("sd_model_checkpoint")
        except Refused as error:
            hint = f" (user:password of its --api-auth goes into {AUTH})" if str(error).startswith("401") else ""
            raise LabError(f"{self.url} answers, but not as a WebUI with --api does: {error}{hint}") from None
        if SCRIPT.lower() not in names:
            raise LabError(f"{self.url} has no script {SCRIPT!r}: install this extension there, and restart it")

    def draw(self, group: list[Cell]) -> list[Result]:
        """One group. Unreachable where the host stops answering."""
        wanted = group[0].spec["checkpoint"]
        try:
            if self.loaded != wanted:
                self.ask("options", {"sd_model_checkpoint": wanted}, PATIENCE)
                self.loaded = wanted
            body = body_of(group)
            body["override_settings"].pop("sd_model_checkpoint")
            self._warm_up(group[0], body)
            began = time.perf_counter()
            answer = self.ask("txt2img", body, PATIENCE)
            seconds = time.perf_counter() - began
        except Refused as error:
            return failed(group, f"{self.url}: {error}")
        images = [Image.open(io.BytesIO(base64.b64decode(text.split(",", 1)[-1]))) for text in answer["images"]]
        return results_of(group, images, json.loads(answer["info"])["infotexts"], seconds, None)

    def leave(self) -> None:
        """Put the checkpoint back that was chosen before."""
        if self.before and self.loaded is not None:
            with contextlib.suppress(Unreachable, Refused):  # it is gone, and so is the setting
                self.ask("options", {"sd_model_checkpoint": self.before}, PATIENCE)

    def _warm_up(self, cell: Cell, body: dict[str, Any]) -> None:
        kind = tuple(cell.spec[k] for k in ("checkpoint", "width", "height", "batch"))
        if kind not in self._warm:
            self._warm.add(kind)
            self.ask("txt2img", {**body, "steps": 2, "alwayson_scripts": {}}, PATIENCE)


class WebUI:
    """``urls``: of the hosts. Those that cannot be reached are told of by ``say``; LabError where none can."""

    name = "webui"

    def __init__(self, urls: list[str], say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)):
        self.say = say
        self.hosts: list[Host] = []
        reasons = []
        for url in dict.fromkeys(urls):
            if not url.startswith(("http://", "https://")):
                raise LabError(f"--url: {url!r} is no address; allowed: http://host:port or https://host")
            host = Host(url)
            try:
                host.greet()
                self.hosts.append(host)
            except Unreachable as error:
                reasons.append(f"{url} cannot be reached: {error}")
                say(reasons[-1])
        if not self.hosts:
            raise LabError("; ".join(reasons) + ". Start a WebUI there with --api, or name another with --url")

    def versions(self) -> dict[str, str]:
        return {"engine": "webui"}

    def checkpoint(self, name: str) -> Checkpoint:
        """Its title must mean the same file on all hosts."""
        found = {host.url: _match(host, name) for host in self.hosts}
        for url, info in found.items():
            if info is None:
                known = ", ".join(m["title"] for m in self._models(url))
                raise LabError(f"checkpoint: {name!r} is not on {url}; there are: {known or 'none'}")
        infos = [info for info in found.values() if info is not None]
        hashes = {info.get("sha256") or info.get("hash") for info in infos} - {None, ""}
        if len({str(h)[:10] for h in hashes}) > 1:
            raise LabError(f"checkpoint: {name!r} is not the same file on {' and '.join(found)}")
        return Checkpoint(infos[0]["model_name"], str(next(iter(hashes), ""))[:10])

    def _models(self, url: str) -> list[dict[str, Any]]:
        return list(next(host for host in self.hosts if host.url == url).ask("sd-models"))

    def draw(self, groups: Iterable[list[Cell]]) -> Iterator[list[Result]]:
        """Every host takes the next group when it is free."""
        work = _Work(groups)
        made: queue.Queue[Any] = queue.Queue()
        threads = [threading.Thread(target=self._serve, args=(h, work, made), daemon=True) for h in self.hosts]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                item = made.get()
                if item is None:
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
        finally:
            work.end()
        if work.has_more():
            raise LabError("no host is left to draw on. What was done is kept; start one and give the command again")

    def _serve(self, host: Host, work: _Work, made: queue.Queue[Any]) -> None:
        try:
            while (taken := work.take()) is not None:
                group, tries = taken
                try:
                    made.put(host.draw(group))
                    work.done()
                except Unreachable as error:
                    self.say(f"{host.url} has stopped answering ({error}); its work goes to the others")
                    if tries + 1 < TRIES:
                        work.back(group, tries + 1)
                    else:
                        made.put(failed(group, f"{tries + 1} hosts stopped answering while they drew it: {error}"))
                        work.done()
                    return
        except BaseException as error:
            made.put(error)
        finally:
            made.put(None)

    def close(self) -> None:
        for host in self.hosts:
            host.leave()


class _Work:
    """Groups to draw, taken by several threads; what a lost host had in hand comes back."""

    def __init__(self, groups: Iterable[list[Cell]]):
        self._groups, self._returned = iter(groups), list[tuple[list[Cell], int]]()
        self._change = threading.Condition()
        self._in_hand, self._over, self._ended = 0, False, False

    def take(self) -> tuple[list[Cell], int] | None:
        """The next (group, tries so far); None when nothing is left, and nothing can come back."""
        with self._change:
            while True:
                if self._ended:
                    return None
                if self._returned:
                    self._in_hand += 1
                    return self._returned.pop()
                if not self._over:
                    group = next(self._groups, None)
                    if group is not None:
                        self._in_hand += 1
                        return group, 0
                    self._over = True
                if not self._in_hand:
                    return None
                self._change.wait()

    def done(self) -> None:
        with self._change:
            self._in_hand -= 1
            self._change.notify_all()

    def back(self, group: list[Cell], tries: int) -> None:
        with self._change:
            self._in_hand -= 1
            self._returned.append((group, tries))
            self._change.notify_all()

    def end(self) -> None:
        with self._change:
            self._ended = True
            self._change.notify_all()

    def has_more(self) -> bool:
        with self._change:
            return bool(self._returned) or (not self._over and next(self._groups, None) is not None)


def _match(host: Host, name: str) -> dict[str, Any] | None:
    try:
        models = host.ask("sd-models")
    except (Unreachable, Refused) as error:
        raise LabError(f"{host.url} does not list its checkpoints: {error}") from None
    plain = name.removesuffix(".safetensors")
    for info in models:
        if name in (info["title"], info["model_name"], info.get("hash"), info.get("filename")) or (
            plain == info["model_name"]
        ):
            return dict(info)
    return None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        answer = json.loads(error.read())
        text = answer.get("detail") or answer.get("errors") or answer.get("error") or answer
    except (OSError, ValueError, AttributeError):
        text = error.reason
    return f"{error.code} {text}"[:500]
