"""The soak itself: references first, one at a time; then the clients, all at once."""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from typing import Any

from extras.studio.soak import asking, numbers
from extras.studio.soak.asking import LONG, Request, essence
from extras.studio.soak.talk import Studio

WARM = 0.2
"""Share of the pictures after which the memory's slope is taken."""


class Soak:
    """``run()`` draws at least ``pictures`` pictures with ``clients`` clients and returns the record, JSON-ready."""

    def __init__(self, studio: Studio, pictures: int, clients: int, size: int, seed: int, say: Callable[[str], None]):
        self.studio, self.wanted, self.clients, self.size, self.seed, self.say = (
            studio, pictures, clients, size, seed, say,
        )  # fmt: skip
        self.requests = asking.requests(size, seeds=1 if pictures < 500 else 3)
        self.references: dict[str, str] = {}
        self.pictures = 0
        self.tally: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.failed: list[str] = []
        self.samples: list[tuple[int, int]] = []
        self._lock, self._interrupting = threading.Lock(), threading.Lock()

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        accounts = {"before": self.studio.told("account")}
        self._refer()
        self.say(f"{len(self.references)} references in {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        threads = [threading.Thread(target=self._client, args=(number,), daemon=True) for number in range(self.clients)]
        for thread in threads:
            thread.start()
        accounts["warm"] = self._watch(threads)
        accounts["end"] = self.studio.told("account")
        slope = numbers.slope(self.samples, int(WARM * self.wanted))
        record = {
            "pictures": self.pictures, "clients": self.clients, "size": self.size, "seed": self.seed,
            "requests": sum(self.tally.values()), "kinds": dict(self.tally), "distinct": len(self.references),
            "seconds": round(time.monotonic() - began, 1), "wrong": self.wrong, "failed": self.failed,
            "accounts": accounts, "slope": list(slope) if slope else None, "samples": self.samples,
        }  # fmt: skip
        return record | {"problems": numbers.problems(record)}

    def _refer(self) -> None:
        for request in self.requests:
            if not request.interrupted:
                status, answer = self._asked(request)
                if status != request.status:
                    self.failed.append(f"{request.name}: {status}, expected {request.status}: {answer[:200]!r}")
                self.references[request.name] = _digest(status, answer)

    def _watch(self, threads: list[threading.Thread]) -> dict[str, Any]:
        """Sample the memory until all clients are done; the account after the warm-up."""
        warm: dict[str, Any] | None = None
        told = 0
        while any(thread.is_alive() for thread in threads):
            with self._lock:
                done = self.pictures
            if warm is None and done >= WARM * self.wanted:
                warm = self.studio.told("account")
            self.samples.append((done, self.studio.told("rss")))
            if done - told >= 100:
                told = done
                self.say(f"{done} pictures, {self.samples[-1][1] / 2**20:.0f} MB, {len(self.wrong)} wrong")
            time.sleep(0.25)
        return warm or self.studio.told("account")

    def _client(self, number: int) -> None:
        rng = random.Random(f"{self.seed} {number}")
        for request in asking.mixed(self.requests, rng):
            with self._lock:
                if self.pictures >= self.wanted:
                    return
            try:
                if rng.random() < 0.1:
                    self.studio.ask("GET", "progress")
                if request.interrupted:
                    if not self._interrupting.acquire(blocking=False):
                        continue
                    try:
                        self._interrupt(request)
                    finally:
                        self._interrupting.release()
                else:
                    self._compare(request)
            except Exception as error:  # a client that dies would pass unseen
                with self._lock:
                    self.failed.append(f"{request.name}: {type(error).__name__}: {error}")

    def _asked(self, request: Request) -> tuple[int, bytes]:
        return self.studio.ask("POST", request.tab, request.body)

    def _compare(self, request: Request) -> None:
        status, answer = self._asked(request)
        same = _digest(status, answer) == self.references[request.name]
        with self._lock:
            self.tally[request.kind] += 1
            self.pictures += len(json.loads(answer)["images"]) if status == 200 else 0
            if not same:
                self.wrong.append(request.name)

    def _interrupt(self, request: Request) -> None:
        """Begin it, and stop it once it is the one that runs: no other has so many steps."""
        got: list[tuple[int, bytes]] = []
        thread = threading.Thread(target=lambda: got.append(self._asked(request)), daemon=True)
        thread.start()
        stopped = False
        while thread.is_alive():
            state = json.loads(self.studio.ask("GET", "progress?skip_current_image=true")[1])["state"]
            if not stopped and state["sampling_steps"] == LONG and state["job_no"] < state["job_count"] - 1:
                self.studio.ask("POST", "interrupt")
                stopped = True
            thread.join(0.02)
        status, answer = got[0]
        images = json.loads(answer)["images"] if status == 200 else []
        with self._lock:
            self.tally["interrupted"] += 1
            self.pictures += len(images)
            if not stopped or not 0 < len(images) < request.body["n_iter"] or not _is_picture(images[0], self.size):
                self.failed.append(f"{request.name}: {status}, {len(images)} pictures, stopped: {stopped}")


def _digest(status: int, answer: bytes) -> str:
    return hashlib.sha256(repr(essence(status, answer)).encode()).hexdigest()


def _is_picture(text: str, size: int) -> bool:
    from PIL import Image

    with Image.open(io.BytesIO(b64decode(text))) as image:
        image.load()
        return image.size == (size, size)
