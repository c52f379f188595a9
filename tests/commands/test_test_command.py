"""`nagtime.py test`: what it hands to pytest."""

import subprocess
from types import SimpleNamespace

import pytest

from extras.studio.commands import test as command


@pytest.fixture
def ran(monkeypatch):
    calls = []

    def run(arguments, **more):
        calls.append((arguments[2:], more))
        return SimpleNamespace(returncode=5 if arguments[2] == "pytest" else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.mark.parametrize(("cores", "more"), [(1, []), (2, ["-n", "2", "--dist", "loadfile"])])
def test_all_tests_in_a_process_per_core(ran, monkeypatch, cores, more):
    monkeypatch.setattr(command.os, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert command.main([]) == 5, "pytest's own status: no test ran"
    assert [arguments[0] for arguments, _ in ran] == ["ruff", "mypy", "pytest"]
    assert ran[-1][0] == ["pytest", "-q", *more] and ran[-1][1]["env"]["OMP_NUM_THREADS"] == "1"


def test_arguments_are_handed_on_as_they_are(ran):
    command.main(["tests/nag", "-x"])
    assert ran[-1][0] == ["pytest", "tests/nag", "-x"]
