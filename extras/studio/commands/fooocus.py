"""`python nagtime.py fooocus --tree PATH [--undo] [--yes]`: guidance in Fooocus, which loads no extensions.

Copies extras/nag into the tree and adds marked lines to four of its files. The change is shown before it is made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from extras.studio.commands.environment import ROOT


def main(argv: Sequence[str]) -> int:
    """0 when done, 1 when the tree is not one we know or the answer was no."""
    parser = argparse.ArgumentParser(prog="nagtime.py fooocus", description=__doc__)
    parser.add_argument("--tree", type=Path, required=True, metavar="PATH", help="Fooocus's folder (has webui.py)")
    parser.add_argument("--undo", action="store_true", help="take our lines and our folder out again")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(argv)
    from extras.nag.hosts.fooocus import patch

    tree = options.tree.expanduser().resolve()
    try:
        files = patch.plain_files(tree) if options.undo else patch.changed_files(tree)
        print(patch.difference(tree, files), end="")
        print(f"{'remove' if options.undo else 'copy'} {patch.LIBRARY} {'from' if options.undo else 'to'} {tree}")
        if not options.yes and not _agreed():
            print("Nothing was changed.")
            return 1
        if options.undo:
            patch.undo(tree, files)
        else:
            patch.apply(tree, files, ROOT / "extras" / "nag")
    except (patch.TreeError, OSError) as error:
        print(f"nagtime: {error}", file=sys.stderr)
        return 1
    print("Done. Start Fooocus as ever." if options.undo else "Done. Restart Fooocus: the tab is called NAG Time.")
    return 0


def _agreed() -> bool:
    if not sys.stdin.isatty():
        print("nagtime: --yes makes the change above", file=sys.stderr)
        return False
    return input("Make this change? [y/N] ").strip().lower() in ("y", "yes")
