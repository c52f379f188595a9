"""What was aimed for, and whether it was reached."""

from __future__ import annotations

from typing import Any

from .arms import BASE, DUPLICATE, NAG, NAG_PAG, OFF, OUTSIDE

Target = dict[str, Any]
PUBLISHED_SHARE = 0.45  # of the published extra cost


def targets(record: dict[str, Any]) -> list[Target]:
    """Of one model: ``what``, ``wanted`` (at most), ``found``, ``met``; overheads as shares of the plain step."""
    arms = record["arms"]
    flux = record["kind"] == "flux"

    def over(name: str) -> float:
        ratio: float = arms[name]["ratio"]["median"] - 1
        return ratio

    made = [(f"{name}, time", 0.005, over(name)) for name in (OFF, OUTSIDE)]
    made += [(f"{name}, other pictures than without", 0, int(not arms[name]["identical"])) for name in (OFF, OUTSIDE)]
    if flux and record["published"]:
        made.append(("NAG, time (45 % of the published cost)", PUBLISHED_SHARE * record["published"], over(NAG)))
    elif not flux:
        made.append(("NAG, time", 0.03, over(NAG)))
        if record["to_duplicate"] is not None:
            made.append((f"NAG, time as a share of what '{DUPLICATE}' adds", 0.25, record["to_duplicate"]))
        made.append(("NAG-PAG, time", 0.01, over(NAG_PAG)))
    made.append(("NAG, waits for the device in a step", 0, arms[NAG]["waits"] - arms[BASE]["waits"]))
    if "peaks" in record and not flux:
        kept = record["kept"]
        room = kept["cache"] + kept["layer"]
        made.append(
            ("NAG, peak memory beyond the plain step, bytes", room, record["peaks"][NAG] - record["peaks"][BASE])
        )
    return [{"what": what, "wanted": wanted, "found": found, "met": found <= wanted} for what, wanted, found in made]
