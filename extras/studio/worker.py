"""One thread that does all work on the model, whoever asked for it.

The server answers each request in one of many threads, and the C library keeps a pool of memory for each: were pictures
drawn there, every pool would grow to the size of a whole job.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
_starting = threading.Lock()
_thread: threading.Thread | None = None


def call(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, done in that thread. One after the other, first come first served. Work must not
    wait for other work."""
    global _thread
    with _starting:
        if _thread is None:
            # a daemon: the program may end while a picture is being drawn
            _thread = threading.Thread(target=_work, name="pictures", daemon=True)
            _thread.start()
    future: Future[T] = Future()
    _tasks.put((future, work))
    return future.result()


def _work() -> None:
    while True:
        future, work = _tasks.get()
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        del future, work  # a picture is not kept until the next one
