"""What a step takes in a host at CFG 1: unguided, guided, and guided without the unused half, job by job in turn.
``python tests/host/measure_skip_uncond.py http://127.0.0.1:7861 [ROUNDS] [STEPS] [SIZE]``; a model of full size is
wanted, as in a small one the rest of a step outweighs the halves."""

from __future__ import annotations

import json
import statistics
import sys
import time

from host_client import GLASSES, Client

ARMS = {"unguided": None, "guided": GLASSES, "without the unused half": GLASSES | {"skip_uncond": True}}


def seconds(client: Client, options: dict | None, steps: int, size: int) -> float:
    """By the clock, of one job."""
    began = time.perf_counter()
    client.answer(options, steps=steps, width=size, height=size, cfg_scale=1)
    return time.perf_counter() - began


def main(url: str, rounds: int = 3, steps: int = 3, size: int = 512) -> dict:
    """Medians of the seconds of a step, the first not counted, and of their ratios to a guided one."""
    client = Client(url)
    for options in ARMS.values():
        seconds(client, options, 1, size)  # warm up
    took: dict[str, list[float]] = {name: [] for name in ARMS}
    for number in range(rounds):
        for name in list(ARMS)[:: 1 if number % 2 else -1]:
            short, long = (seconds(client, ARMS[name], n, size) for n in (1, steps))
            took[name].append((long - short) / (steps - 1))
    ratios = {name: [a / b for a, b in zip(took[name], took["guided"], strict=True)] for name in ARMS}
    found: dict = {"rounds": rounds, "steps": steps, "size": size}
    found["seconds per step"] = {name: round(statistics.median(each), 3) for name, each in took.items()}
    found["to guided"] = {
        name: [round(f(each), 3) for f in (statistics.median, min, max)] for name, each in ratios.items()
    }
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:])), indent=1))
