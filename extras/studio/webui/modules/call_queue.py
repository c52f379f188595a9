"""One lock for the one model: jobs of the page and of HTTP clients take turns, first come first served."""

from __future__ import annotations

import collections
import threading
from functools import wraps


class FIFOLock:
    """A lock whose waiters are served in the order they came. Not re-entrant. A context manager."""

    def __init__(self):
        self._guard = threading.Lock()
        self._held = False
        self._waiting: collections.deque[threading.Event] = collections.deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._guard:
            if not self._held:
                self._held = True
                return True
            if not blocking:
                return False
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()
        return True

    def release(self) -> None:
        with self._guard:
            if not self._held:
                raise RuntimeError("release of a lock that nobody holds")
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._held = False

    def locked(self) -> bool:
        return self._held

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *exc):
        self.release()


queue_lock = FIFOLock()


def wrap_queued_call(func):
    """``func`` called under the queue lock."""

    @wraps(func)
    def call(*args, **kwargs):
        with queue_lock:
            return func(*args, **kwargs)

    return call
