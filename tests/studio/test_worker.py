"""All pictures are drawn in one thread, whoever asks; what they leave is collected soon."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from extras.studio import server, worker

FIELDS = {"prompt": "nerd", "steps": 1, "width": 64, "height": 64, "cfg_scale": 1, "sampler_name": "Euler", "seed": 1}


def test_jobs_of_many_threads_are_drawn_in_one(engine, monkeypatch):
    from modules import processing

    threads, own = [], processing.process_images
    monkeypatch.setattr(processing, "process_images", lambda p: threads.append(threading.get_ident()) or own(p))
    with ThreadPoolExecutor(4) as many:
        drawn = list(many.map(lambda seed: engine.txt2img(FIELDS | {"seed": seed}), range(8)))
    assert len(threads) == 8 and len(set(threads)) == 1 and threads[0] != threading.get_ident()
    assert [processed.all_seeds for processed in drawn] == [[seed] for seed in range(8)]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_is_the_askers(error):
    def fail():
        raise error

    with pytest.raises(type(error)) as raised:
        worker.call(fail)
    assert raised.value is error
    assert worker.call(lambda: 7) == 7, "the thread goes on"


def test_nothing_of_the_last_work_is_kept():
    class Picture:
        pass

    seen = weakref.ref(worker.call(Picture))
    worker.call(lambda: None)
    gc.collect()
    assert seen() is None


def test_the_collector_leaves_out_what_is_there_for_good(engine):
    server.settle()
    try:
        assert gc.get_freeze_count() > 10_000 > len(gc.get_objects())
    finally:
        gc.unfreeze()
