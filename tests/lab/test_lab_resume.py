"""What was done is kept: kills, a second run, damage, a full disk."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from lab_fake import PLAN, Fake, run

from extras.lab import store as stores
from extras.lab.store import Store, StoreError

CELLS = 40


def pictures(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (Path(folder) / "images").glob("*.png")}


def rows(folder):
    with Store.read(folder) as store:
        frame = store.frame().drop(columns=["seconds", "memory_mb", "image"])
    return frame.astype(str).values.tolist()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert run(folder).drawn == CELLS
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_twenty_times_it_ends_as_if_never_killed(tmp_path, unbroken):
    folder, chance, kills = tmp_path / "run", random.Random(7), 0
    run(folder, stop=lambda: True)
    while kills < 20:
        had = len(pictures(folder))
        child = begin(folder)
        end = time.monotonic() + 30
        while len(list((folder / "images").glob("*.png"))) <= had and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        now = pictures(folder)
        assert len(now) > had, "a kill lost pictures, or nothing was drawn"
        if len(now) > CELLS - 8:  # so much that the next child could end by itself: take some away
            for name in list(now)[: CELLS // 2]:
                (folder / "images" / name).unlink()
    engine = Fake()
    outcome = run(folder, engine)
    assert engine.drawn == outcome.drawn and outcome.drawn + outcome.kept == CELLS and outcome.failed == 0
    assert pictures(folder) == pictures(unbroken)
    assert rows(folder) == rows(unbroken)


def begin(folder):
    """A process that draws, slowly; its id."""
    child = os.fork()
    if child:
        return child
    try:
        run(folder, Fake(pause=0.02))
    finally:
        os._exit(0)


def test_the_same_plan_again_costs_nothing(tmp_path):
    run(tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "images").iterdir()}
    engine = Fake()
    outcome = run(tmp_path / "run", engine)
    assert (engine.drawn, outcome.drawn, outcome.kept) == (0, 0, CELLS)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "images").iterdir()}


def test_a_larger_plan_draws_what_is_new(tmp_path):
    run(tmp_path / "run")
    engine = Fake()
    outcome = run(tmp_path / "run", engine, PLAN.replace("count: 5", "count: 8"))
    assert (engine.drawn, outcome.kept) == (24, CELLS)


def test_what_an_earlier_plan_has_left_undrawn_is_not_waited_for(tmp_path):
    asked = iter([False] * 5)
    run(tmp_path / "run", stop=lambda: next(asked, True))
    with Store.read(tmp_path / "run") as store:
        drawn = sum(state == "done" for state in store.states().values())
        assert store.waiting() == CELLS - drawn > 0
    run(tmp_path / "run", text=PLAN.replace("count: 5", "count: 1"))
    with Store.read(tmp_path / "run") as store:
        assert store.waiting() == 0 and "todo" in store.states().values()


def test_two_runs_are_the_same_bytes(tmp_path, unbroken):
    run(tmp_path / "again")
    assert pictures(tmp_path / "again") == pictures(unbroken)


def test_stopped_it_says_so_and_goes_on(tmp_path, unbroken):
    asked = iter([False] * 5)
    outcome = run(tmp_path / "run", stop=lambda: next(asked, True))
    assert outcome.stopped and 0 < outcome.drawn < CELLS
    assert not run(tmp_path / "run").stopped
    assert rows(tmp_path / "run") == rows(unbroken)


def test_failed_pictures_are_told_and_tried_again(tmp_path, unbroken):
    outcome = run(tmp_path / "run", Fake(fails=(102,)))
    assert outcome.failed == 8 and outcome.errors == ["seed 102 is not to be had"]
    with Store.read(tmp_path / "run") as store:
        assert len(store.failures()) == 8 and 102 not in set(store.frame()["seed"])
    assert run(tmp_path / "run").drawn == 8
    assert rows(tmp_path / "run") == rows(unbroken)


@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone", "not a database"])
def test_a_damaged_database_is_made_again_from_the_pictures(tmp_path, unbroken, damage):
    folder = tmp_path / "run"
    run(folder)
    path, told, engine = folder / "results.sqlite", [], Fake()
    raw = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"cut": raw[: len(raw) // 2], "overwritten": raw[:4096] + bytes(8192) + raw[12288:]}.get(
                damage, b"hello" * 999
            )
        )
    outcome = run(folder, engine, say=told.append)
    assert engine.drawn == 0 and outcome.kept == CELLS
    assert rows(folder) == rows(unbroken)
    assert damage == "gone" or ("damaged" in told[0] and list(folder.glob("results.sqlite.damaged-*")))


def test_reading_a_damaged_database_says_what_to_do(tmp_path):
    run(tmp_path / "run")
    (tmp_path / "run" / "results.sqlite").write_bytes(b"nothing" * 500)
    with pytest.raises(StoreError, match="lab run"):
        Store.read(tmp_path / "run")
    with pytest.raises(StoreError, match="no results here"):
        Store.read(tmp_path / "elsewhere")


def test_half_a_picture_is_drawn_again(tmp_path, unbroken):
    folder = tmp_path / "run"
    run(folder)
    victim = sorted((folder / "images").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:500])
    (folder / "results.sqlite").unlink()
    engine = Fake()
    run(folder, engine)
    assert engine.drawn == 1 and pictures(folder) == pictures(unbroken)


def test_a_picture_of_another_address_is_not_taken_in(tmp_path):
    folder = tmp_path / "run"
    run(folder)
    first, second = sorted((folder / "images").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    (folder / "results.sqlite").unlink()
    engine = Fake()
    run(folder, engine)
    assert engine.drawn == 1


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path, monkeypatch, unbroken):
    written, real = [], Path.write_bytes

    def full(self, data):
        if self.suffix == ".part" and len(written) >= 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(self)
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match=r"the disk is full. What was done is kept; make room"):
        run(tmp_path / "run")
    monkeypatch.undo()
    assert len(pictures(tmp_path / "run")) == 7
    outcome = run(tmp_path / "run")
    assert outcome.kept == 7 and rows(tmp_path / "run") == rows(unbroken)


def test_a_full_disk_under_the_database(tmp_path, monkeypatch):
    real = stores._connect

    class Full:
        def __init__(self, db):
            self.db = db

        def __getattr__(self, name):
            return getattr(self.db, name)

        def executemany(self, sql, rows):
            if sql.startswith("UPDATE cells SET state=?"):
                raise sqlite3.OperationalError("database or disk is full")
            return self.db.executemany(sql, rows)

    monkeypatch.setattr(stores, "_connect", lambda path: Full(real(path)))
    with pytest.raises(StoreError, match="the disk is full"):
        run(tmp_path / "run")
    monkeypatch.undo()
    assert run(tmp_path / "run").kept == 2, "the pictures of the group that was being saved are taken in"
