"""What NAG Time costs a host while it is installed and switched off: CPU time per step, with it and without it, job by
job in turn. ``python tests/host/measure_overhead.py http://127.0.0.1:7861 [JOBS] [STEPS]``; needs fault_extension/."""

from __future__ import annotations

import json
import random
import statistics
import sys

from host_client import Client

FAULTS = "NAG Faults"


def seconds(client: Client, absent: bool, steps: int, size: int) -> float:
    """CPU seconds of one job's thread."""
    always = {FAULTS: [{"where": "absent"}] if absent else []}
    client.answer(always=always, steps=steps, width=size, height=size, cfg_scale=7)
    return client.get("/nag-faults")["seconds"]


def bootstrap(values: list[float], rounds: int = 4000) -> tuple[float, float]:
    """95 % interval of the median."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(rounds))
    return medians[int(0.025 * rounds)], medians[int(0.975 * rounds)]


def main(url: str, jobs: int = 40, steps: int = 20, size: int = 64) -> dict:
    client = Client(url)
    for absent in (True, False):
        seconds(client, absent, steps, size)  # warm up
    pairs = []
    for number in range(jobs):
        order = (True, False) if number % 2 else (False, True)
        took = {absent: seconds(client, absent, steps, size) for absent in order}
        pairs.append((took[False], took[True]))
    added = [1000 * (with_it - without) / steps for with_it, without in pairs]
    step = 1000 * statistics.median(without for _, without in pairs) / steps
    low, high = bootstrap(added)
    median = statistics.median(added)
    found = {"jobs": jobs, "steps": steps, "ms per step": step, "ms added": median, "95 %": [low, high]}
    return found | {"share": median / step}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:])), indent=1))
