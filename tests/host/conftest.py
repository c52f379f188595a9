"""Black box: only HTTP. ``NAG_HOST_URL=http://127.0.0.1:7861 pytest tests/host`` asks that host; without it a Studio
with random checkpoints is started.

NAG_HOST_CHECKPOINT: load this one first (any unique part of its name). NAG_HOST_OTHERS: further ones, with commas
between, for refiner and hires checkpoint. NAG_HOST_NAME, NAG_HOST_MODEL: names for the results. NAG_HOST_RESULTS: a
folder for the results. NAG_HOST_RUNS: how many random jobs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from host_kinds import Host
from host_results import FAILED, PASSED, SKIPPED, Results

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE / "fault_extension"))
READY_SECONDS = 240
results = Results()
_hosts: list[Host] = []


def pytest_configure(config):
    config.addinivalue_line("markers", "capability(name): what of a host the test shows")


@pytest.fixture(scope="session")
def host_url(tmp_path_factory):
    """(address of the host, further checkpoints it is known to have)."""
    url = os.environ.get("NAG_HOST_URL")
    if url:
        yield url, None
        return
    folder = tmp_path_factory.mktemp("host")
    command = [sys.executable, "-u", str(HERE / "host_studio.py"), str(folder)]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        timer = threading.Timer(READY_SECONDS, process.kill)
        timer.start()
        try:
            line = next((x for x in process.stdout if x.startswith("ready ")), "")
            timer.cancel()
            assert line, (folder / "log").read_text()[-3000:]
            yield line.split()[1], ["beta", "gamma"]
        finally:
            timer.cancel()
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="session")
def host(host_url):
    from host_client import Client

    url, others = host_url
    client = Client(url)
    client.wait()
    chosen = os.environ.get("NAG_HOST_CHECKPOINT")
    if chosen:
        title = next(m["title"] for m in client.api("sd-models") if chosen in m["title"])
        client.api("options", {"sd_model_checkpoint": title})
    _hosts.append(Host(url, others))
    return _hosts[-1]


@pytest.fixture
def note(request):
    """note("16 samplers"): a detail for the results."""
    return lambda text: request.node.user_properties.append(("detail", text))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    marker = item.get_closest_marker("capability")
    if marker is None or (report.when != "call" and report.passed):
        return
    outcome = PASSED if report.passed else SKIPPED if report.skipped else FAILED
    detail = "; ".join(str(value) for key, value in item.user_properties if key == "detail")
    if report.skipped and isinstance(report.longrepr, tuple):
        detail = report.longrepr[2].removeprefix("Skipped: ")
    elif report.failed:
        detail = str(call.excinfo.value).split("\n")[0][:200] if call.excinfo else ""
    results.add(marker.args[0], item.name, outcome, detail)


def pytest_sessionfinish(session):
    folder = os.environ.get("NAG_HOST_RESULTS")
    if folder and _hosts and results.tests:
        host = _hosts[0]
        results.write(Path(folder), host.name, host.version, os.environ.get("NAG_HOST_MODEL") or host.model)
