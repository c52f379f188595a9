"""Stopping a run over HTTP: what was made comes back, and the next picture is the plain one."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from host_client import GLASSES

capability = pytest.mark.capability
PATIENCE = 120  # seconds until a job must have begun


def run_and(host, route, steps, **fields):
    """The answer to a job of ``steps`` steps during which ``route`` was called after the third."""
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(host.draw, GLASSES, steps=steps, **fields)
        end = time.monotonic() + PATIENCE
        while not job.done() and time.monotonic() < end:
            state = host.api("progress?skip_current_image=true")["state"]
            if state["sampling_step"] >= 3:
                host.api(route, {})
                break
            time.sleep(0.01)
        return job.result()


@capability("interrupt and skip")
def test_interrupt(host):
    for steps in (100, 150):  # a fast host may be done before the call comes
        stopped = run_and(host, "interrupt", steps)
        last = max(stopped.report["guided_steps"])
        if last < steps:
            break
    assert 3 <= last < steps, "not interrupted"
    assert host.restored()


@capability("interrupt and skip")
def test_skip(host):
    """The first picture is cut short, the second is made whole and guided."""
    for steps in (60, 120):
        skipped = run_and(host, "skip", steps, n_iter=2)
        whole = host.draw(GLASSES, steps=steps, seed=8)
        if skipped.report["calls"] < 2 * whole.report["calls"]:
            break
    assert skipped.report["calls"] < 2 * whole.report["calls"], "not skipped"
    assert len(skipped.pngs) == 2 and abs(skipped.pixels[1] - whole.pixels[0]).max() == 0
    assert host.restored()
