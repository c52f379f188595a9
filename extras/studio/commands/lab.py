"""`python nagtime.py lab …`: experiments. What it can do stands in extras/lab/command.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

# before any import that reads them: nothing is sent or fetched
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


def main(argv: Sequence[str]) -> int:
    """Its exit status: 0 done, 1 trouble or failed pictures, 2 a plan or an option that cannot be."""
    from extras.lab import command

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C: hosts get their checkpoint back
    return command.main(list(argv))
