"""Small random models; one thread and a fixed seed for every test."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import nag_tiny
import pytest
import torch
from hypothesis import settings

settings.register_profile("nag", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("nag")


@pytest.fixture(autouse=True)
def _steady():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sd1():
    return nag_tiny.sd1()


@pytest.fixture(scope="module")
def sd2():
    return nag_tiny.sd2()


@pytest.fixture(scope="module")
def sdxl():
    return nag_tiny.sdxl()


@pytest.fixture(params=["sd1", "sd2", "ldm"])
def unet(request, sd1, sd2):
    """One callable per family: unet.model, unet(x, t, context)."""
    if request.param == "ldm":
        return nag_tiny.Callable(nag_tiny.ldm())
    return nag_tiny.Callable({"sd1": sd1, "sd2": sd2}[request.param])
