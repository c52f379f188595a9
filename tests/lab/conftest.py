"""One simulated run for all tests that read results."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    from lab_simulated import simulated

    return simulated(tmp_path_factory.mktemp("lab") / "run")


@pytest.fixture(scope="session")
def report(run_folder):
    from extras.lab.report import write_report

    return write_report(run_folder)


@pytest.fixture
def stub():
    from lab_stub import Stub

    made = []

    def make(**how):
        made.append(Stub(**how))
        return made[-1]

    yield make
    for each in made:
        each.close()
