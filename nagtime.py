#!/usr/bin/env python3
"""NAG Time's one command: `python nagtime.py` sets itself up once and opens the page; --help says the rest.

This file runs before anything is installed, and on Pythons that are too old: it keeps to the standard library and to
syntax that every Python parses, so that the wrong one gets a sentence and not a SyntaxError.
"""

import os
import sys

OLDEST, NEWEST = (3, 10), (3, 13)

if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.stderr.write(
        "nagtime: this is Python %d.%d; NAG Time runs on %d.%d to %d.%d. Start it with one of those, for example: "  # noqa: UP031 (old Pythons parse this)
        "python%d.%d nagtime.py\n" % (sys.version_info[:2] + OLDEST + NEWEST + (3, 12))
    )
    sys.exit(2)

ROOT = os.path.dirname(os.path.abspath(__file__))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

if __name__ == "__main__":
    from extras.studio.commands import main

    sys.exit(main(sys.argv[1:]))
