"""The engines: hosts over HTTP that come and go, workers that die, the Studio in this process."""

from __future__ import annotations

import json
import os
import signal

import lab_fake
import pytest
from lab_fake import PLAN, run
from PIL import Image

from extras.lab import plan
from extras.lab.engines import compare
from extras.lab.engines.answers import results_of
from extras.lab.engines.webui import WebUI
from extras.lab.errors import LabError
from extras.lab.store import Store

CELLS = 40


def colours(folder):
    with Store.read(folder) as store:
        frame = store.frame()
        return {tuple(r[k] for k in ("pair", "seed", "arm")): store.picture(r["cell"]).getpixel((0, 0))
                for r in frame.to_dict("records")}  # fmt: skip


def test_hosts_share_the_work_and_get_their_checkpoint_back(tmp_path, stub):
    hosts = [stub(), stub()]
    engine = WebUI([host.url for host in hosts])
    outcome = run(tmp_path / "two", engine)
    engine.close()
    assert outcome.drawn == CELLS and outcome.failed == 0
    assert all(host.asked > 0 for host in hosts)
    assert all(host.chosen == ["some-model", "mine.safetensors"] for host in hosts)
    run(tmp_path / "one", WebUI([stub().url]))
    assert colours(tmp_path / "one") == colours(tmp_path / "two")
    pixels = colours(tmp_path / "one")
    assert pixels["nerd", 101, "NAG scale 8"] != pixels["nerd", 101, "untreated"] != pixels["nerd", 102, "untreated"]


def test_a_host_that_cannot_be_reached_is_named_and_the_others_work(tmp_path, stub):
    told = []
    engine = WebUI([stub().url, "http://127.0.0.1:9"], told.append)
    assert run(tmp_path / "run", engine).drawn == CELLS
    assert len(told) == 1 and "http://127.0.0.1:9 cannot be reached" in told[0]


def test_no_host_at_all_is_a_sentence():
    with pytest.raises(LabError, match=r"127\.0\.0\.1:9 cannot be reached: .*Start a WebUI there with --api"):
        WebUI(["http://127.0.0.1:9"], lambda text: None)
    with pytest.raises(LabError, match="no address"):
        WebUI(["file:///etc/passwd"])


def test_a_host_that_dies_leaves_its_work_to_the_others(tmp_path, stub):
    told = []
    dying, living = stub(dies_after=2), stub()
    engine = WebUI([dying.url, living.url], told.append)
    outcome = run(tmp_path / "run", engine)
    assert outcome.drawn == CELLS and outcome.failed == 0
    assert len(told) == 1 and f"{dying.url} has stopped answering" in told[0]


def test_when_all_hosts_die_what_was_done_is_kept(tmp_path, stub):
    with pytest.raises(LabError, match=r"no host is left.*What was done is kept"):
        run(tmp_path / "run", WebUI([stub(dies_after=3).url], lambda text: None))
    assert run(tmp_path / "run", WebUI([stub().url])).kept == 6


def test_a_host_without_the_extension_is_refused(stub):
    host = stub(script="another script")
    with pytest.raises(LabError, match="has no script 'NAG Time'"):
        WebUI([host.url])


def test_a_host_that_wants_a_password_gets_it(stub, monkeypatch):
    host = stub(auth="me:secret")
    with pytest.raises(LabError, match=r"401 Incorrect.*goes into NAGTIME_API_AUTH"):
        WebUI([host.url])
    monkeypatch.setenv("NAGTIME_API_AUTH", "me:secret")
    assert WebUI([host.url]).hosts


def test_a_hosts_refusal_fails_the_picture_and_is_told(tmp_path, stub):
    outcome = run(tmp_path / "run", WebUI([stub(error="steps: 4 is too many").url]))
    assert outcome.failed == CELLS and "422 steps: 4 is too many" in outcome.errors[0]


def test_other_steps_than_the_plans_are_not_taken_for_the_plans(tmp_path, stub):
    outcome = run(tmp_path / "run", WebUI([stub(steps="2-4").url]))
    assert outcome.drawn == 10, "the untreated ones"
    assert "steps 1-4 were to be guided, the host says: 2-4" in outcome.errors


def test_an_unknown_checkpoint_lists_the_hosts(tmp_path, stub):
    text = PLAN.replace("some-model", "no-model")
    with pytest.raises(LabError, match=r"'no-model' is not on http.*some-model\.safetensors"):
        run(tmp_path / "run", WebUI([stub().url]), text)


def test_an_error_of_guidance_is_no_picture(tmp_path):
    spec = {"batch": 1, "seed": 3, "checkpoint": "mine", "sha256": ""}
    cell = type("C", (), {"spec": spec, "guided": (1, 2)})()
    image = Image.new("RGB", (8, 8))
    bad = results_of([cell], [image], ['x\nSteps: 4, NAG error: "layers: ""q"" is unknown"'], 1.0, None)[0]
    assert bad.image is None and "layers" in bad.error
    good = results_of([cell], [image], ["x\nSteps: 4, NAG guided steps: 1-2 of 4"], 1.0, None)[0]
    assert good.error is None and good.seconds == 1.0
    none = results_of([cell], [image], ["a\nNegative prompt: NAG guided steps: 1-2 of 4\nSteps: 4"], 1.0, None)[0]
    assert none.error == "steps 1-2 were to be guided, the host says: none"


@pytest.mark.parametrize(
    ("told", "known", "trouble"),
    [
        ("Model hash: 0d80065199, Model: student", "0d80065199ab", None),
        ("Model hash: 0d80065199, Model: renamed", "0d80065199", None),
        ("Model hash: 41b7cbf599, Model: tiny15", "0d80065199", "with mine, the host says: tiny15"),
        ("Model hash: 41b7cbf599, Model: tiny15", "", "with mine, the host says: tiny15"),
        ("Model: mine", "", None),
        ("Model: other", "0d80065199", "the host says: other"),
        (
            "Model hash: e2cf440513, Model: base, Refiner: mine [0d80065199], Refiner switch at: 0.25",
            "0d80065199ab",
            None,
        ),
        ("Model hash: e2cf440513, Model: base, Refiner: tiny15 [41b7cbf599]", "0d80065199ab", "says: tiny15"),
        ("Size: 8x8", "0d80065199", None),
    ],
)
def test_a_picture_of_another_model_is_not_the_plans(told, known, trouble):
    cell = type("C", (), {"spec": {"batch": 1, "seed": 3, "checkpoint": "mine", "sha256": known}, "guided": ()})()
    made = results_of(
        [cell], [Image.new("RGB", (8, 8))], [f"Model: not this line\nSteps: 4, {told}, Version: x"], 1.0, None
    )
    assert (made[0].error is None) if trouble is None else (trouble in made[0].error)


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_ray_worker_that_is_killed_is_replaced_and_nothing_is_missing(tmp_path):
    ray = pytest.importorskip("ray")
    from extras.lab.engines.ray import Ray

    ray.cloudpickle.register_pickle_by_value(lab_fake)
    engine = Ray(workers=2, make=lambda: lab_fake.Fake(pause=0.05))
    killed = []

    def kill(progress):
        if progress.done >= 6 and not killed:
            pid = ray.get(engine.actors[0].pid.remote())
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    try:
        outcome = run(tmp_path / "ray", engine, show=kill)
    finally:
        engine.close()
    assert killed and engine.replaced >= 1
    assert outcome.drawn == CELLS and outcome.failed == 0
    run(tmp_path / "here")
    same = [{p.name: p.read_bytes() for p in (tmp_path / name / "images").iterdir()} for name in ("ray", "here")]
    assert same[0] == same[1]


def test_impossible_workers():
    from extras.lab.engines.ray import Ray

    with pytest.raises(LabError, match="--workers: 0"):
        Ray(workers=0)


def test_engines_side_by_side(tmp_path, stub):
    path = tmp_path / "p.yaml"
    path.write_text(PLAN, encoding="utf-8")
    urls = [stub().url, stub().url]
    engines = [("fake", lab_fake.Fake), *((f"webui-{n}", lambda url=url: WebUI([url])) for n, url in enumerate(urls))]
    found = compare.compare(plan.load(path), PLAN, tmp_path / "out", engines)
    assert [(t.engine, t.pictures, t.failed) for t in found] == [(name, CELLS, 0) for name, _ in engines]
    assert found[0].same == found[0].files == CELLS and found[0].worst == 0 and found[0].a_minute > 0
    again = compare.compare(plan.load(path), PLAN, tmp_path / "again", engines[1:])
    assert again[1].same == CELLS and again[1].files == CELLS and found[1].same < CELLS and found[1].worst > 0
    assert "| webui-1 | 40 |" in compare.table(found)
    assert json.loads((tmp_path / "out" / "engines.json").read_text())[0]["engine"] == "fake"
