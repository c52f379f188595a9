"""`python nagtime.py soak`: a Studio of its own, many clients with good, bad and failing requests; every answer is
compared with what the same request gave alone, and at the end nothing may be left over."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extras.studio.soak.numbers import LEAST


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nagtime.py soak", description=__doc__)
    add = parser.add_argument
    add("--pictures", type=_positive, default=2000, help="at least so many (default 2000)")
    add("--clients", type=_positive, default=8, help="at once (default 8)")
    add("--ckpt", type=Path, metavar="PATH", help="default: the small student")
    add("--size", type=_positive, default=64, help="pixels of a picture's edge (default 64: they are not looked at)")
    add("--seed", type=int, default=0, help="of the order of requests (default 0)")
    add("--json", type=Path, metavar="FILE", help="write the whole record there")
    add("--docs", action="store_true", help="also write its part of docs/HEALTH.md")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: 1 or more")
    return int(text)


def main(argv: Sequence[str]) -> int:
    """0 where nothing was wrong and nothing left, else 1."""
    options = parse(argv)
    from extras.studio.soak.running import Soak
    from extras.studio.soak.talk import Studio

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        with tempfile.TemporaryDirectory() as outputs, Studio(Path(outputs), options.ckpt) as studio:
            record = Soak(studio, options.pictures, options.clients, options.size, options.seed, say).run()
    except RuntimeError as error:
        say(f"nagtime soak: {error}")
        return 1
    record["command"] = "python nagtime.py soak " + shlex.join(_measuring(argv))
    print("\n".join(summary(record)))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    if options.docs:
        from extras.studio.commands.health_page import write

        write("soak", page(record))
    return 1 if record["problems"] else 0


def _measuring(argv: Sequence[str]) -> list[str]:
    """What of a command line names the soak: not where it was written."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--json")
    where.add_argument("--docs", action="store_true")
    return where.parse_known_args(argv)[1]


def summary(record: dict[str, Any]) -> list[str]:
    """For the terminal, one line each."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(record["kinds"].items()))
    lines = [
        f"{record['pictures']} pictures, {record['requests']} requests of {record['clients']} clients in "
        f"{record['seconds']:.0f} s: {kinds}",
        f"{record['distinct']} distinct requests, each made once alone before; answers that differ: "
        f"{len(record['wrong'])}; requests that failed: {len(record['failed'])}",
        f"memory: {slope_of(record)}; resident {_course(record, 'rss', 2**20)} MB",
        f"hooks of ours left: {record['accounts']['end']['taps']}; all hooks {_course(record, 'hooks')}, threads "
        f"{_course(record, 'threads')}, open files {_course(record, 'files')}, objects {_course(record, 'objects')} "
        "(before, after the warm-up, at the end)",
    ]
    return lines + [f"NOT PASSED: {problem}" for problem in record["problems"]] + ["passed"] * (not record["problems"])


def slope_of(record: dict[str, Any]) -> str:
    """The slope in words."""
    if not record["slope"]:
        return f"too few pictures for a slope (it wants {LEAST} after the warm-up)"
    value, low, high = record["slope"]
    return f"{value:+.2f} MB per 100 pictures, 95 % interval [{low:+.2f}, {high:+.2f}]"


def _course(record: dict[str, Any], name: str, unit: int = 1) -> str:
    return ", ".join(f"{record['accounts'][when][name] // unit}" for when in ("before", "warm", "end"))


def page(record: dict[str, Any]) -> str:
    """The part of docs/HEALTH.md."""
    rows = [f"| {kind} | {count} |" for kind, count in sorted(record["kinds"].items())]
    end = record["accounts"]["end"]
    return "\n".join(
        [
            f"`{record['command']}`: a Studio of its own, {record['clients']} clients over HTTP, "
            f"{record['pictures']} pictures in {record['seconds'] / 60:.0f} minutes. Each of {record['distinct']} "
            "distinct requests was made once alone before; in the crowd its answer (pictures' bytes, infotext, what is "
            "said, or the refusal) had to be the same.",
            "",
            "| requests | |",
            "|---|---|",
            *rows,
            f"| **answers that differ** | **{len(record['wrong'])}** |",
            f"| **requests that failed** | **{len(record['failed'])}** |",
            f"| **hooks of ours left** | **{end['taps']}** |",
            "",
            f"Memory after the warm-up (a fifth of the pictures): **{slope_of(record)}**.",
            *(f"**Not passed**: {problem}." for problem in record["problems"]),
            "",
            "| in the server | before | after the warm-up | at the end |",
            "|---|---|---|---|",
            *(
                f"| {label} | {_course(record, name, unit).replace(', ', ' | ')} |"
                for label, name, unit in (
                    ("resident memory, MB", "rss", 2**20),
                    ("hooks on the model, of anyone", "hooks", 1),
                    ("callbacks", "callbacks", 1),
                    ("threads", "threads", 1),
                    ("open files and sockets", "files", 1),
                    ("Python objects", "objects", 1),
                )
            ),
        ]
    )
