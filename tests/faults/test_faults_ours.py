"""An exception in any function of ours that a picture calls: the picture is finished, the error is told, nothing
is left. The functions are those that the pictures below are seen to call."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pytest
from nag_fault_tracer import ENTRIES, always, is_entry

from extras.nag import kept

SIMPLE = ({"negative": "[glasses:hat:.5]", "scale": 8, "end": 0.6, "cooldown": 0.4, "ramp_steps": 2}, {"steps": 2})
RICH = (
    {"negative": ["(glasses <lora:x:1>", ""], "scale": 8, "layers": "d*,!m0", "skip_uncond": True, "unit": "sigma",
     "end": 0.5},
    {"prompt": "a nerd AND a hat", "batch_size": 2, "enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent",
     "denoising_strength": 0.7, "cfg_scale": 1},
)  # fmt: skip
ELSEWHERE = {"modify", "_see_text", "_see_keys", "_see_begin", "__torch_function__"}
"""Not called by the Studio: of the Forge family, where another extension adds to the attention, and where the prompt is
filled up (the small models' text is as long as a CPU likes)."""
UNDOING = {
    "extras.nag.taps:remove",
    "extras.nag.run:_remove",
    "extras.nag.part:_close_hooks",
    "extras.nag.part:undo",
    "extras.nag.hosts.webui.closing:attempt",
}
"""What takes the hooks out: where that can never succeed, hooks stay."""
CLOSING = "close_and_tell"  # the host has its answer by then: only the console is left
TOLD = "a fault of ours"


def attempt(studio, job):
    """(picture, what was printed) of a job, as in a process that has kept nothing yet."""
    kept._kept.clear()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        picture = studio.draw(job[0], **job[1])
    return picture, printed.getvalue()


def silent_places(studio, picture, printed, guided):
    """Where the error is not told. The metadata is written before the last of our functions run."""
    if CLOSING in studio.tracer.stack:
        return [] if TOLD in printed else ["console"]
    told = {
        "answer": str(picture.params),
        "comments": picture.comments,
        "panel": studio.panel(),
        "console": printed,
    }
    if not picture.same(guided):
        told["infotext"] = picture.texts[0]
    return [place for place, text in told.items() if TOLD not in text]


@pytest.fixture(scope="module")
def called(studio):
    """Job, its guided and its plain picture, and the functions first seen in it with their number of calls."""
    seen, jobs = set(), []
    for job in (SIMPLE, RICH):
        with studio.fault() as tracer:
            guided, _ = attempt(studio, job)
        counts = {name: n for name, n in tracer.counts.items() if name not in seen}
        seen |= set(counts)
        jobs.append((job, guided, studio.draw(**job[1]), counts))
    assert len(seen) > 150 and all(guided.report["calls"] for _, guided, _, _ in jobs)
    return jobs


def check(studio, called, faulty, spared=()):
    """Run ``faulty(name, count)``, a context that makes a function fail, for each function; returns how many were
    made to."""
    wrong, faults = {}, 0
    for job, guided, _, counts in called:
        for name, count in sorted(counts.items()):
            if is_entry(name) or name.split("@")[0] in spared:
                continue
            with faulty(name, count) as active:
                if not active:
                    continue
                try:
                    picture, printed = attempt(studio, job)
                except Exception as error:
                    wrong[name] = f"the picture was not finished: {error!r}"
                    continue
            faults += 1
            if silent := silent_places(studio, picture, printed, guided):
                wrong[name] = f"not told in {silent}"
            try:
                studio.assert_clean()
            except AssertionError as error:
                wrong[name] = str(error)[:300]
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())
    return faults


def test_the_entries_are_functions_of_ours(called):
    names = {name.split(":")[1].split("@")[0] for *_, counts in called for name in counts}
    assert names | ELSEWHERE >= ENTRIES
    library = Path(__file__).resolve().parents[2] / "extras" / "nag"
    source = "".join(path.read_text(encoding="utf-8") for path in library.rglob("*.py"))
    assert [name for name in sorted(ENTRIES & ELSEWHERE) if f"def {name}(" not in source] == []


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or coverage is tracing")
@pytest.mark.parametrize("which", ["first", "last"])
def test_once(studio, called, which):
    """At the first and at the last call of each function."""

    @contextlib.contextmanager
    def faulty(name, count):
        if which == "last" and count == 1:
            yield False
            return
        with studio.fault(name, 1 if which == "first" else count) as tracer:
            yield True
        assert tracer.fired, name

    assert check(studio, called, faulty) > 70


def test_always(studio, called):
    """A mistake in the code: every call of a function fails, also while the first failure is being told."""
    studio.tracer.stack = []
    assert check(studio, called, lambda name, _: always(name), UNDOING) > 100
