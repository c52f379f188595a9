"""The numbers of the pictures: what is missing is measured, what cannot be is noted as absent, never as 0."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from .errors import LabError
from .plan import UNTREATED, Plan
from .progress import Progress
from .store import Store


def measure(
    store: Store,
    plan: Plan,
    show: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = print,
    stop: Callable[[], bool] = lambda: False,
    sets: bool = True,
) -> None:
    """All metrics of the plan on all pictures of the store that lack them; ``sets``: and those of sets of pictures."""
    from .metrics import METRICS, measure_picture

    names = plan.metrics or list(METRICS)
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise LabError(f"metrics: {unknown[0]!r} is not known; allowed: {', '.join(METRICS)}")
    rows = store.frame()
    how = plan.measure.model_dump()

    def numbers(picture: Any, untreated: Any, row: dict[str, Any], wanted: set[str]) -> dict[str, Any]:
        return measure_picture(picture, untreated, {**row, **how}, sorted(wanted))

    _images(store, rows, [name for name in names if METRICS[name].per_image is not None], numbers, show, stop)
    per_set = {name: METRICS[name] for name in names if METRICS[name].per_set is not None}
    if sets and per_set and not stop():
        _sets(store, rows, per_set, how["extractor"], show, stop)


def _images(store: Store, rows: Any, names: list[str], numbers: Any, show: Any, stop: Any) -> None:
    have = store.has_metrics()
    wanted = set(names)
    once = rows.drop_duplicates("cell")
    todo = [row for row in once.to_dict("records") if not wanted <= have.get(row["cell"], set())]
    if not todo:
        return
    progress = Progress("measuring", len(todo))
    twin: tuple[str | None, Any] = (None, None)
    for row in sorted(todo, key=lambda r: (r["model"], r["pair"], r["seed"])):
        if stop():
            return
        if twin[0] != row["baseline"]:
            there = row["baseline"] is not None and store.path_of(row["baseline"]).is_file()
            twin = (row["baseline"], store.picture(row["baseline"]) if there else None)
        if row["baseline"] is not None and twin[1] is None:
            continue  # its twin failed; measured when that is there
        found = numbers(store.picture(row["cell"]), twin[1], row, wanted - have.get(row["cell"], set()))
        store.put_metrics(row["cell"], {name: _value(value) for name, value in found.items()})
        progress.add(1)
        show(progress)


def _value(found: Any) -> tuple[float | None, str]:
    """(value, note) as stored: what is absent has no value and a reason."""
    reason = getattr(found, "reason", None)
    return (float(found), "") if reason is None else (None, str(reason))


def _sets(store: Store, rows: Any, metrics: dict[str, Any], extractor: str, show: Any, stop: Any) -> None:
    known = {(r["model"], r["arm"], r["name"]): r["members"] for r in store.sets().to_dict("records")}
    plain = {m: _cells(g) for m, g in rows[rows["arm"] == UNTREATED].groupby("model")}
    todo = [(key, name) for key in rows.groupby(["model", "arm"], sort=False).groups for name in metrics]
    progress = Progress("measuring sets", len(todo))
    loaded: dict[str, Any] = {}
    for (model, arm), name in todo:
        if stop():
            return
        mine = _cells(rows[(rows["model"] == model) & (rows["arm"] == arm)])
        others = [] if arm == UNTREATED else plain.get(model, [])
        members = hashlib.sha256("\n".join([extractor, *(c for c, _ in mine), "", *(c for c, _ in others)]).encode())
        if known.get((model, arm, name)) != members.hexdigest()[:24]:
            if loaded.get("of") != (model, arm):
                sets = [[store.picture(c) for c, _ in cells] for cells in (mine, others)]
                loaded = {"of": (model, arm), "sets": sets}
            value, note = _set_value(metrics[name], *loaded["sets"], extractor, [pair for _, pair in mine])
            store.put_set(model, arm, name, value, note, len(mine), members.hexdigest()[:24])
        progress.add(1)
        show(progress)


def _cells(rows: Any) -> list[tuple[str, str]]:
    """(cell, pair) in the order of pair and seed, so that the same pictures are the same set."""
    ordered = rows.sort_values(["pair", "seed"])
    return list(zip(ordered["cell"], ordered["pair"], strict=True))


def _set_value(metric: Any, pictures: Any, untreated: Any, extractor: str, prompts: Any) -> tuple[float | None, str]:
    try:
        return _value(metric.per_set(pictures, untreated, extractor, prompts))
    except Exception as error:  # one metric must not end an experiment
        return None, f"failed: {type(error).__name__}: {error}"[:300]
