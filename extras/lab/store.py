"""Where results are kept: one folder a run, results.sqlite (transactions, write-ahead log) and images/<cell>.png.

A picture's file is written whole before its row says "done", and carries its address and what it was made of: a
database that is lost or damaged is made again from the pictures.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .cells import ArmRow, Cell, Expansion, Place
from .errors import LabError

if TYPE_CHECKING:
    import pandas

NAME = "results.sqlite"
TODO, DONE, FAILED = "todo", "done", "failed"
ADDRESS = "nag-time-lab"
"""Text chunk of a picture: its spec as JSON."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (cell TEXT PRIMARY KEY, spec TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'todo',
    image TEXT, seconds REAL, memory_mb REAL, error TEXT, engine TEXT, created TEXT);
CREATE TABLE IF NOT EXISTS metrics (cell TEXT NOT NULL, name TEXT NOT NULL, value REAL, note TEXT,
    PRIMARY KEY (cell, name));
CREATE TABLE IF NOT EXISTS sets (model TEXT NOT NULL, arm TEXT NOT NULL, name TEXT NOT NULL, value REAL, note TEXT,
    n INTEGER, members TEXT, PRIMARY KEY (model, arm, name));
CREATE TABLE IF NOT EXISTS places (model TEXT, pair TEXT, seed INTEGER, arm TEXT, cell TEXT, baseline TEXT,
    PRIMARY KEY (model, pair, seed, arm));
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
"""
_ARM_COLUMNS = (
    "start", "end", "ramp", "cooldown", "scale", "tau", "alpha", "layers", "handoff", "handoff_cfg", "cfg",
    "cfg_negative", "steps", "guided",
)  # fmt: skip
COLUMNS = (
    "cell", "model", "pair", "prompt", "target", "subject", "negative", "seed", "arm", "role", "family", "method",
    "baseline", *_ARM_COLUMNS, "state", "seconds", "memory_mb", "image",
)  # fmt: skip


class StoreError(LabError):
    """The results cannot be read or written."""


class Store:
    """The results of one folder. Make it by `open` (to write) or `read`; close it, or use it as a context."""

    def __init__(self, folder: Path, connection: sqlite3.Connection):
        self.folder, self.images, self._db = folder, folder / "images", connection

    # -- opening ---

    @classmethod
    def open(cls, folder: Path, say=print) -> Store:
        """The folder's results, made where there are none. A damaged database is put aside and made again from the
        pictures; ``say`` tells it."""
        folder = Path(folder)
        with _disk(folder):
            (folder / "images").mkdir(parents=True, exist_ok=True)
            path = folder / NAME
            damage = _damage(path)
            if damage:
                aside = _free_name(folder / f"{NAME}.damaged")
                path.replace(aside)
                for extra in ("-wal", "-shm"):
                    path.with_name(NAME + extra).unlink(missing_ok=True)
                say(f"{path} is damaged ({damage}); it was put aside as {aside.name}. The pictures are taken in again.")
            store = cls(folder, _connect(path))
            store._db.executescript(_SCHEMA)
        return store

    @classmethod
    def read(cls, folder: Path) -> Store:
        """The same, to read only. StoreError where there are no results or they are damaged."""
        path = Path(folder) / NAME
        if not path.is_file():
            raise StoreError(f"{folder}: there are no results here ({NAME} is missing); make them with: lab run")
        damage = _damage(path)
        if damage:
            raise StoreError(f"{path} is damaged ({damage}); `lab run` with its plan makes it again from the pictures")
        return cls(Path(folder), _connect(path))

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- the plan ---

    def begin(self, expansion: Expansion, meta: Mapping[str, str]) -> None:
        """Take a plan in: its cells beside those that are there, its places in place of the last plan's."""
        with self._transaction():
            have = {row[0] for row in self._db.execute("SELECT cell FROM cells")}
            new = [(c.id, _json(c.spec)) for c in expansion.cells.values() if c.id not in have]
            self._db.executemany("INSERT INTO cells (cell, spec) VALUES (?, ?)", new)
            self._db.execute("DELETE FROM places")
            self._db.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?)", [_row(p) for p in expansion.places])
            self._put({**meta, "arms": _json([asdict(row) for row in expansion.arms])})
        self._take_in(expansion.cells)

    def _take_in(self, cells: Mapping[str, Cell]) -> None:
        """Pictures without a row that says done: written just before a kill, or of a lost database. And rows whose
        picture is gone."""
        states = dict(self._db.execute("SELECT cell, state FROM cells"))
        files = {path.stem for path in self.images.glob("*.png")}
        here = [c for c in cells.values() if states[c.id] != DONE and c.id in files and _is_of(self.path_of(c.id), c)]
        gone = [cell for cell in cells if states[cell] == DONE and cell not in files]
        with self._transaction():
            sql = "UPDATE cells SET state = ?, image = ?, error = NULL WHERE cell = ?"
            self._db.executemany(sql, [(DONE, f"images/{c.id}.png", c.id) for c in here])
            self._db.executemany("UPDATE cells SET state = 'todo', image = NULL WHERE cell = ?", [(c,) for c in gone])
            self._db.executemany("DELETE FROM metrics WHERE cell = ?", [(c,) for c in gone])

    def states(self) -> dict[str, str]:
        """Cell -> todo, done or failed."""
        return dict(self._db.execute("SELECT cell, state FROM cells"))

    def waiting(self) -> int:
        """How many pictures of the plan in force are still to be drawn; those of an earlier plan do not count."""
        sql = "SELECT COUNT(DISTINCT cell) FROM places JOIN cells USING (cell) WHERE state = ?"
        return int(self._db.execute(sql, (TODO,)).fetchone()[0])

    def path_of(self, cell: str) -> Path:
        return self.images / f"{cell}.png"

    def picture(self, cell: str) -> Image.Image:
        """The picture of a cell that is done, RGB."""
        with Image.open(self.path_of(cell)) as image:
            return image.convert("RGB")

    # -- writing results ---

    def save(self, results: Iterable[Any], engine: str, created: str) -> None:
        """Keep drawn pictures and failures (engines.base.Result), all of them or none."""
        rows = []
        with _disk(self.folder):
            for r in results:
                if r.error is None:
                    self._write(r.cell, r.image, r.infotext)
                rows.append((FAILED if r.error else DONE, None if r.error else f"images/{r.cell.id}.png", r.seconds,
                             r.memory_mb, r.error, engine, created, r.cell.id))  # fmt: skip
        with self._transaction():
            self._db.executemany(
                "UPDATE cells SET state=?, image=?, seconds=?, memory_mb=?, error=?, engine=?, created=? WHERE cell=?",
                rows,
            )

    def _write(self, cell: Cell, image: Image.Image, infotext: str) -> None:
        info = PngInfo()
        info.add_text("parameters", infotext)
        info.add_text(ADDRESS, _json(cell.spec))
        out = io.BytesIO()
        image.convert("RGB").save(out, format="PNG", pnginfo=info)
        path = self.path_of(cell.id)
        draft = path.with_suffix(".part")
        draft.write_bytes(out.getvalue())
        os.replace(draft, path)

    def put_metrics(self, cell: str, values: Mapping[str, tuple[float | None, str]]) -> None:
        """Name -> (value, note) of one picture; a value of None is absent, for the reason in the note."""
        with self._transaction():
            rows = [(cell, name, value, note) for name, (value, note) in values.items()]
            self._db.executemany("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?)", rows)

    def has_metrics(self) -> dict[str, set[str]]:
        """Cell -> names measured."""
        found: dict[str, set[str]] = {}
        for cell, name in self._db.execute("SELECT cell, name FROM metrics"):
            found.setdefault(cell, set()).add(name)
        return found

    def put_set(self, model: str, arm: str, name: str, value: float | None, note: str, n: int, members: str) -> None:
        """A number of a set of pictures; ``members``: hash of the cells it was made of."""
        with self._transaction():
            row = (model, arm, name, value, note, n, members)
            self._db.execute("INSERT OR REPLACE INTO sets VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def put_meta(self, values: Mapping[str, str]) -> None:
        with self._transaction():
            self._put(values)

    # -- reading ---

    def meta(self, key: str, default: str = "") -> str:
        """plan (YAML), plan_json, arms, versions, environment, engine, command, source."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else default

    def frame(self) -> pandas.DataFrame:
        """One row a place of the plan whose picture is done: COLUMNS, then one column a metric (NaN: absent)."""
        import pandas as pd

        plan = json.loads(self.meta("plan_json", "{}"))
        arms = pd.DataFrame([{**a, **a.pop("values")} for a in json.loads(self.meta("arms", "[]"))])
        pairs = pd.DataFrame(
            [{"pair": p["id"], "prompt": p["prompt"], "target": p["target"], "subject": p["subject"],
              "negative": p["negative"] or p["target"]} for p in plan.get("pairs", [])]
        )  # fmt: skip
        places = pd.read_sql_query(
            "SELECT p.*, c.state, c.seconds, c.memory_mb, c.image FROM places p JOIN cells c USING (cell) "
            "WHERE c.state = 'done' ORDER BY p.rowid",
            self._db,
        )
        if arms.empty or pairs.empty:
            return pd.DataFrame(columns=list(COLUMNS))
        frame = places.merge(pairs, on="pair", how="left").merge(arms, on=["model", "arm"], how="left")
        frame["image"] = [str(self.folder / image) for image in frame["image"]]
        frame = frame.reindex(columns=list(COLUMNS))
        for name in ("layers", "guided", "cfg_negative", "role", "family"):
            frame[name] = frame[name].fillna("")
        frame["baseline"] = frame["baseline"].astype(object).where(frame["baseline"].notna(), None)
        metrics = pd.read_sql_query("SELECT cell, name, value FROM metrics", self._db)
        if not metrics.empty:
            wide = metrics.pivot(index="cell", columns="name", values="value").astype(float)
            frame = frame.merge(wide.reset_index(), on="cell", how="left")
        return frame

    def sets(self) -> pandas.DataFrame:
        """model, arm, name, value, note, n: of sets of pictures."""
        import pandas as pd

        return pd.read_sql_query("SELECT model, arm, name, value, note, n, members FROM sets", self._db)

    def notes(self) -> pandas.DataFrame:
        """name, note, n: why metrics are absent, and of how many pictures."""
        import pandas as pd

        return pd.read_sql_query(
            "SELECT name, note, COUNT(*) AS n FROM metrics WHERE value IS NULL GROUP BY name, note ORDER BY name",
            self._db,
        )

    def failures(self) -> list[tuple[str, str]]:
        """(cell, error) of the plan's pictures that failed."""
        sql = "SELECT DISTINCT c.cell, c.error FROM cells c JOIN places p USING (cell) WHERE c.state = 'failed'"
        return list(self._db.execute(sql))

    # -- inside ---

    def _put(self, values: Mapping[str, str]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _disk(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _damage(path: Path) -> str:
    """What is wrong with a database; "" where nothing is, or where there is none."""
    if not path.exists():
        return ""
    try:
        db = sqlite3.connect(path, timeout=30)
        try:
            told = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            db.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "full" in str(error) or "unable to open" in str(error):
            raise StoreError(f"{path}: {error}") from None
        return str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if told == "ok" else told


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Errors of the disk as one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(_full(folder)) from None
        raise StoreError(f"{folder}: {error.strerror or error}") from None
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise StoreError(_full(folder)) from None
        raise StoreError(f"{folder / NAME}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{folder / NAME}: {error}; the same command takes the pictures in again") from None


def _full(folder: Path) -> str:
    return f"{folder}: the disk is full. What was done is kept; make room and give the same command again"


def _is_of(path: Path, cell: Cell) -> bool:
    """Is this file that cell's picture, and whole?"""
    try:
        with Image.open(path) as image:
            image.load()
            return bool(image.info.get(ADDRESS) == _json(cell.spec))
    except (OSError, SyntaxError, ValueError):
        return False


def _free_name(path: Path) -> Path:
    number = 1
    while path.with_name(f"{path.name}-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}-{number}")


def _row(place: Place) -> tuple[Any, ...]:
    return place.model, place.pair, place.seed, place.arm, place.cell, place.baseline


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


__all__ = ["COLUMNS", "NAME", "ArmRow", "Store", "StoreError"]
