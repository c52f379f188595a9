"""What `python nagtime.py …` can do: one line here and one small module each.

Standard library only: this is imported before the virtual environment exists. A command's module is imported only
after `environment.enter` has put us inside it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from extras.studio.commands import environment


class Command(NamedTuple):
    """One command. ``module`` has ``main(argv) -> int | None``; ``needs`` what to install first, or ''."""

    module: str
    needs: str
    help: str


COMMANDS = {
    "": Command(
        "extras.studio.commands.web",
        "run",
        "open the Studio, a page on 127.0.0.1 (--port, --ckpt, --outputs, --no-browser)",
    ),
    "demo": Command(
        "extras.doodle.demo", "run", "draw the same prompts without NAG, with NAG, with NAG Time: demo.png, demo.json"
    ),
    "layers": Command("extras.studio.commands.layers", "run", "list every layer of a model that can be guided"),
    "lab": Command(
        "extras.studio.commands.lab",
        "lab",
        "experiments from a plan: lab run plans/h123.yaml, lab report, lab search …",
    ),
    "bench": Command("extras.studio.commands.bench", "run", "what guidance costs here: table, bench.json, bench.svg"),
    "train-tiny": Command("extras.doodle.train", "run", "train the small models of models/ again, from nothing"),
    "pictures": Command("extras.studio.commands.pictures", "test", "the pictures of README.md and docs/ again"),
    "test": Command(
        "extras.studio.commands.test", "test", "run the checks and the tests (what follows goes to pytest)"
    ),
    "soak": Command(
        "extras.studio.commands.soak", "run", "a Studio, many clients, faults: every picture compared, memory watched"
    ),
    "coverage": Command("extras.studio.commands.coverage", "test", "which lines of the library its tests reach"),
    "mutants": Command(
        "extras.studio.commands.mutants", "mutants", "do the tests notice when a formula is changed? (mutmut)"
    ),
    "release": Command("extras.studio.commands.release", "", "the zip of a release, of what is committed (--out DIR)"),
    "fooocus": Command(
        "extras.studio.commands.fooocus", "", "put guidance into Fooocus: --tree PATH [--undo]; shows the change first"
    ),
    "models": Command("extras.studio.commands.models", "", "put the small models into a WebUI: --webui PATH [--undo]"),
}
ERRORS = (environment.SetupError,)


def usage() -> str:
    """The text of ``--help``."""
    lines = ["usage: python nagtime.py [COMMAND] [options]", ""]
    lines += [f"  {name or '(nothing)':<11} {command.help}" for name, command in COMMANDS.items()]
    lines += [
        "",
        "python nagtime.py COMMAND --help says more. The first start makes .venv beside this file and installs pinned",
        "packages into it; later starts need no network. TORCH_COMMAND says how torch is installed",
        f"(default: {environment.DEFAULT_TORCH_COMMAND!r}).",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Run one command line and return its exit status. Errors a user can mend are one line on stderr, status 1 or 2."""
    argv = list(argv)
    if argv and argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name = argv[0] if argv and not argv[0].startswith("-") else ""
    if name not in COMMANDS:
        known = ", ".join(n for n in COMMANDS if n)
        print(
            f"nagtime: there is no command {name!r}; there are: {known}, and nothing at all for the page",
            file=sys.stderr,
        )
        return 2
    command = COMMANDS[name]
    rest = argv[1:] if name else argv
    try:
        if command.needs:
            environment.enter(command.needs, argv)
        return int(importlib.import_module(command.module).main(rest) or 0)
    except environment.SetupError as error:
        print(f"nagtime: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nnagtime: stopped", file=sys.stderr)
        return 130
