"""Tiny models of the benchmark's own; one thread, so that times and sums do not depend on the machine."""

import pytest
import torch

from extras.bench.shapes import SHAPES, Subject, build

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _steady():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def models():
    """Name -> model, built once."""
    kept = {}

    def model(name):
        if name not in kept:
            kept[name] = build(SHAPES[name], CPU, torch.float32)
        return kept[name]

    return model


@pytest.fixture
def subject(models):
    """subject(name, ...): a tiny model with inputs."""

    def make(name="tiny-sd15", resolution=64, **more):
        return Subject(SHAPES[name], models(name), CPU, torch.float32, resolution, **more)

    return make
