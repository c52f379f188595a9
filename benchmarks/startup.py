"""How long until the Studio is ready, how long a picture takes, how much memory it holds; and, on request, the set-up.

    .venv/bin/python benchmarks/startup.py [--runs 3] [--pictures 9] [--threads 2] [--set-up] [--json FILE]

Prints medians and writes the raw numbers as JSON. The aims: ready in 15 s, a four-step 128 x 128 picture in 0.5 s on
two cores, 2 GB resident, set-up in 5 minutes. Nothing here passes or fails: read the numbers on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START = "import sys; from extras.studio.commands.web import main; sys.exit(main(sys.argv[1:]))"
AIMS = {"set_up_s": 300.0, "ready_s": 15.0, "picture_s": 0.5, "guided_picture_s": 0.5, "resident_mb": 2048.0}
JOB = {
    "prompt": "a nerd on a pink background", "steps": 4, "cfg_scale": 1, "width": 128, "height": 128,
    "sampler_name": "Euler", "scheduler": "SGM Uniform", "save_images": False,
}  # fmt: skip
GUIDED = {"alwayson_scripts": {"NAG Time": {"args": [{"negative": "glasses", "scale": 8, "alpha": 0.65}]}}}


def set_up() -> float:
    """Seconds from nothing to an installed environment (in a throw-away folder; needs the network)."""
    folder = Path(tempfile.mkdtemp(prefix="nagtime-set-up-"))
    try:
        began = time.monotonic()
        environment = {**os.environ, "NAGTIME_VENV": str(folder / "venv")}
        subprocess.run([sys.executable, str(ROOT / "nagtime.py"), "layers", "--help"], env=environment, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        return time.monotonic() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def one_start(pictures: int, threads: int, ckpt: Path | None) -> dict[str, list[float]]:
    """Start a Studio, make pictures over HTTP, read its memory, end it."""
    outputs = tempfile.mkdtemp(prefix="nagtime-bench-")
    command = [sys.executable, "-u", "-c", START, "--port", "0", "--no-browser", "--outputs", outputs]
    command += ["--ckpt", str(ckpt)] if ckpt else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        url = None
        for line in process.stdout or ():
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                url = found[0]
                break
        if url is None:
            raise SystemExit("the Studio did not start: run python nagtime.py to see why")
        result = {"ready_s": [time.monotonic() - began]}
        request(url, JOB)  # the first one warms up
        result["picture_s"] = [request(url, JOB) for _ in range(pictures)]
        result["guided_picture_s"] = [request(url, JOB | GUIDED) for _ in range(pictures)]
        result["resident_mb"] = [resident_mb(process.pid)]
        return result
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(outputs, ignore_errors=True)


def request(url: str, job: dict) -> float:
    """Seconds for one picture, HTTP and PNG included."""
    body = json.dumps(job).encode()
    began = time.monotonic()
    call = urllib.request.Request(f"{url}/sdapi/v1/txt2img", body, {"content-type": "application/json"})
    with urllib.request.urlopen(call) as answer:
        answer.read()
    return time.monotonic() - began


def resident_mb(pid: int) -> float:
    """Peak resident memory of the process in MB (Linux), else nan."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) / 1024  # type: ignore[index]
    except (OSError, TypeError):
        return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="starts of the Studio")
    parser.add_argument("--pictures", type=int, default=9, help="pictures in each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ckpt", type=Path, help="instead of the small student")
    parser.add_argument("--set-up", action="store_true", help="also make an environment from nothing (network)")
    parser.add_argument("--json", type=Path, default=Path("startup.json"))
    options = parser.parse_args()
    raw: dict[str, list[float]] = {"set_up_s": [set_up()]} if options.set_up else {}
    for _ in range(options.runs):
        for name, values in one_start(options.pictures, options.threads, options.ckpt).items():
            raw.setdefault(name, []).extend(values)
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count(),
               "load": os.getloadavg() if hasattr(os, "getloadavg") else None, "threads": options.threads}  # fmt: skip
    print(f"{'':<18}{'median':>9}{'least':>9}{'most':>9}{'aim':>9}    n")
    for name, values in raw.items():
        row = (statistics.median(values), min(values), max(values), AIMS[name])
        print(f"{name:<18}" + "".join(f"{value:>9.2f}" for value in row) + f"{len(values):>5}")
    options.json.write_text(json.dumps({"machine": machine, "raw": raw, "aims": AIMS}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
