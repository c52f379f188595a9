"""Many processes, GPUs or machines, by Ray: each worker is a Studio of its own. A worker that dies is replaced, and
what it had in hand is drawn again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from ..cells import Cell, Checkpoint
from ..errors import LabError
from . import Result
from .answers import failed
from .inprocess import ROOT, InProcess

TRIES = 4
"""Workers that may die over one group before it counts as failed."""


class Worker:
    """What runs in a worker. ``make``: engine of one process, InProcess by default."""

    def __init__(self, make: Any = None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self.engine = make() if make is not None else InProcess()

    def draw(self, group: list[Cell]) -> list[Result]:
        return list(self.engine.draw_group(group))

    def pid(self) -> int:
        return os.getpid()


class Ray:
    """``workers``: how many (None: one a GPU, else one a core); ``address``: of a cluster, None: one on this machine,
    started for the run and ended with it. ``make``: see Worker."""

    name = "ray"

    def __init__(self, workers: int | None = None, address: str | None = None, make: Any = None):
        if workers is not None and workers < 1:
            raise LabError(f"--workers: {workers} is not possible, allowed: 1 or more")
        self._wanted, self._address, self._make = workers, address, make
        self._here = make() if make is not None else InProcess()
        self._ray: Any = None
        self.actors: list[Any] = []
        self.replaced = 0

    def versions(self) -> dict[str, str]:
        return self._here.versions()

    def checkpoint(self, name: str) -> Checkpoint:
        return self._here.checkpoint(name)

    def draw(self, groups: Iterable[list[Cell]]) -> Iterator[list[Result]]:
        """The next group goes to the first free worker."""
        ray = self._start()
        waiting = iter(groups)
        again: list[tuple[list[Cell], int]] = []
        busy: dict[Any, tuple[Any, list[Cell], int]] = {}
        idle = list(self.actors)
        while True:
            while idle:
                group, tries = again.pop() if again else (next(waiting, None), 0)
                if group is None:
                    break
                actor = idle.pop()
                busy[actor.draw.remote(group)] = (actor, group, tries)
            if not busy:
                return
            (ready,), _ = ray.wait(list(busy), num_returns=1)
            actor, group, tries = busy.pop(ready)
            try:
                made = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                made = failed(group, f"{type(error.cause).__name__}: {error.cause}")
            except ray.exceptions.RayActorError as error:
                actor = self._replace(actor)
                if tries + 1 < TRIES:
                    again.append((group, tries + 1))
                    idle.append(actor)
                    continue
                made = failed(group, f"{tries + 1} workers died over it: {error}".splitlines()[0])
            idle.append(actor)
            yield made

    def close(self) -> None:
        self._here.close()
        if self._ray is not None:
            self._ray.shutdown()
            self._ray, self.actors = None, []

    def _start(self) -> Any:
        if self._ray is not None:
            return self._ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise LabError("engine ray: the package ray is not installed; extras/lab/requirements.txt has it") from None
        about = {"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}}
        try:
            local: dict[str, Any] = {} if self._address else {"include_dashboard": False, "num_cpus": self._wanted}
            ray.init(
                address=self._address, runtime_env=about, logging_level="ERROR", log_to_driver=False,
                configure_logging=False, **local,
            )  # fmt: skip
        except Exception as error:
            where = self._address or "on this machine"
            raise LabError(f"engine ray: no cluster {where}: {error}".splitlines()[0]) from None
        self._ray = ray
        resources = ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        self._kind = ray.remote(Worker).options(**({"num_gpus": 1} if gpus else {"num_cpus": 1}))
        self.actors = [self._kind.remote(self._make) for _ in range(self._wanted or gpus or cores)]
        return ray

    def _replace(self, dead: Any) -> Any:
        self.replaced += 1
        fresh = self._kind.remote(self._make)
        self.actors[self.actors.index(dead)] = fresh
        return fresh
