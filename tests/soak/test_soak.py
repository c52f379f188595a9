"""A small soak on a real Studio; and that a soak notices what it is there to notice."""

from __future__ import annotations

import copy
import random
import sys
from pathlib import Path

import pytest

from extras.studio.soak import asking, numbers
from extras.studio.soak.running import Soak
from extras.studio.soak.talk import Studio

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    sys.path += [str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "studio")]
    from nano import nano

    checkpoint = tmp_path_factory.mktemp("soak") / "alpha.safetensors"
    nano(checkpoint, seed=0)
    with Studio(tmp_path_factory.mktemp("out"), checkpoint) as running:
        yield running


@pytest.fixture(scope="module")
def record(studio):
    return Soak(studio, pictures=40, clients=4, size=64, seed=2, say=lambda told: None).run()


def test_forty_pictures_for_four_clients(record):
    """Every answer is that of the same request alone, faults included; nothing is left in the server."""
    assert record["problems"] == [] and record["wrong"] == [] and record["failed"] == []
    assert record["pictures"] >= 40 and record["accounts"]["end"]["taps"] == 0
    assert {"guided", "faulty", "plain", "bad"} <= set(record["kinds"])


def test_a_picture_that_differs_is_noticed(studio, monkeypatch):
    soak = Soak(studio, pictures=3, clients=2, size=64, seed=0, say=lambda told: None)
    soak.requests = [request for request in soak.requests if request.kind == "plain"]
    refer = soak._refer

    def other_seed():
        refer()
        soak.references["plain 0"] = soak.references["plain, LCM 0"]

    monkeypatch.setattr(soak, "_refer", other_seed)
    record = soak.run()
    assert set(record["wrong"]) == {"plain 0"} and "differ" in record["problems"][0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"taps": 2}, "2 hooks of ours are left"),
        ({"hooks": 3}, "hooks: 0 before, 3 at the end"),
        ({"options": 5}, "options"),
        ({"callbacks": 40}, "callbacks"),
        ({"threads": 99}, "threads"),
        ({"files": 99}, "files"),
    ],
)
def test_what_is_left_is_noticed(record, change, told):
    other = copy.deepcopy(record)
    other["accounts"]["end"] |= change
    assert any(told in problem for problem in numbers.problems(other))


def test_a_request_that_fails_is_noticed(record):
    assert "1 requests failed" in numbers.problems({**record, "failed": ["x"]})[0]


def memory(per_hundred: float, noise: float, pictures: int = 2000) -> list[tuple[int, int]]:
    """Samples of a process that grows by so many MB per 100 pictures, after a warm-up of 300 MB."""
    rng = random.Random(0)
    size = [600 + 300 * min(1, n / 400) + per_hundred * n / 100 + rng.gauss(0, noise) for n in range(0, pictures, 5)]
    return [(5 * i, int(mb * 2**20)) for i, mb in enumerate(size)]


@pytest.mark.parametrize("per_hundred", [0.0, 0.5, 3.0])
def test_the_slope_is_found_within_its_interval(per_hundred):
    value, low, high = numbers.slope(memory(per_hundred, noise=2), after=400)
    assert low < per_hundred < high and abs(value - per_hundred) < 0.2 and 0 < high - low < 0.5


def test_the_slope_of_a_short_run_is_not_told():
    assert numbers.slope(memory(0, 1, pictures=300), after=60) is None


def test_growth_is_noticed_and_flatness_is_not(record):
    grows, flat = (list(numbers.slope(memory(mb, 2), after=400)) for mb in (3.0, 0.0))
    assert "memory grows" in numbers.problems({**record, "slope": grows})[0]
    assert numbers.problems({**record, "slope": flat}) == []


def test_every_kind_is_asked_for_and_every_request_has_a_name_of_its_own():
    among = asking.requests(64, seeds=3)
    assert len({request.name for request in among}) == len(among)
    assert {request.kind for request in among} == set(asking.SHARES)
    mixed = asking.mixed(among, random.Random(0))
    asked = {request.name for request, _ in zip(mixed, range(3000), strict=False)}
    assert asked == {request.name for request in among}
