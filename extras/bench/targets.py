"""What was aimed for, and whether it was reached."""

from __future__ import annotations

from typing import Any

from .arms import BASE, DUPLICATE, FUSED, NAG, NAG_PAG, OFF, OUTSIDE, PAG_FUSED
from .report import best

Target = dict[str, Any]
PUBLISHED_SHARE = 0.45  # of the published extra cost


def targets(record: dict[str, Any]) -> list[Target]:
    """Of one model: ``what``, ``wanted`` (at most), ``found``; overheads as shares of the plain step. ``met``:
    None where the 95 % interval of what was timed holds the limit."""
    arms = record["arms"]
    flux = record["kind"] == "flux"
    made: list[Target] = []

    def spread(what: str, found: dict[str, float], wanted: float) -> None:
        met = True if found["high"] <= wanted else False if found["low"] > wanted else None
        made.append({"what": what, "wanted": wanted, "found": found["median"], "met": met})

    def time(what: str, name: str, wanted: float) -> None:
        ratio = best(arms[name])
        spread(what, {key: ratio[key] - 1 for key in ("median", "low", "high")}, wanted)

    def value(what: str, found: float, wanted: float) -> None:
        made.append({"what": what, "wanted": wanted, "found": found, "met": found <= wanted})

    for name in (OFF, OUTSIDE):
        time(f"{name}, time", name, 0.005)
        value(f"{name}, operators more than without", arms[name]["operators"] - arms[BASE]["operators"], 0)
        value(f"{name}, other pictures than without", int(not arms[name]["identical"]), 0)
    for name in (NAG, FUSED):
        if name not in arms:
            continue
        if flux and record["published"]:
            time(f"{name}, time (45 % of the published cost)", name, PUBLISHED_SHARE * record["published"])
        elif not flux:
            time(f"{name}, time", name, 0.03)
            if record["to_duplicate"][name] is not None:
                spread(f"{name}, time as a share of what '{DUPLICATE}' adds", record["to_duplicate"][name], 0.25)
    for name in (NAG_PAG, PAG_FUSED):
        if name in arms and not flux:
            time(f"{name}, time", name, 0.01)
    value("NAG, waits for the device in a step", arms[NAG]["waits"] - arms[BASE]["waits"], 0)
    if "peaks" in record and not flux:
        room = record["kept"]["cache"] + record["kept"]["layer"]
        value("NAG, peak memory beyond the plain step, bytes", record["peaks"][NAG] - record["peaks"][BASE], room)
    return made
