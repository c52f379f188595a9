"""The tab's runs in a WebUI: a process of its own, with the lab's own packages, that asks the WebUI over its API.

Standard library only: the WebUI's Python has none of the lab's packages, and other versions of those it has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .tab_words import BUSY, NOTHING

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, str(ROOT / "nagtime.py"))


class RunsApart:
    """One run at a time. ``url``: of the WebUI itself, asked when a run begins; a sentence that has no "://" is why
    there is none. ``auth``: user:password of its API, or nothing. ``command``: what the arguments `lab run …` are given
    to."""

    def __init__(
        self,
        url: Callable[[], str],
        command: Sequence[str] = COMMAND,
        outputs: Path = ROOT / "outputs",
        auth: Callable[[], str] = str,
    ):
        self._url, self._command, self._outputs, self._auth = url, list(command), outputs, auth
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = outputs
        self._stopped = False

    def start(self, text: str, name: str) -> str:
        """Run the plan of ``text`` in a folder of that name. A sentence where that cannot be, else nothing."""
        if self._process is not None and self._process.poll() is None:
            return BUSY
        url = self._url()
        if "://" not in url:
            return url
        self._folder, self._stopped = self._outputs / "lab" / name, False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "plan.yaml").write_text(text, encoding="utf-8")
            self._live().unlink(missing_ok=True)
            asked = ["lab", "run", "plan.yaml", "--engine", "webui", "--url", url, "--out", ".", "--live", "live.json"]
            with self._log().open("wb") as log:
                self._process = subprocess.Popen(
                    [*self._command, *asked], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, env=_environment(self._auth()),
                )  # fmt: skip
        except OSError as error:
            return f"{self._folder}: {error.strerror or error}"
        return ""

    def stop(self) -> None:
        """End it now: what is drawn is kept, and the same plan goes on from there."""
        if self._process is not None and self._process.poll() is None:
            self._stopped = True
            self._process.terminate()

    def look(self) -> dict[str, Any]:
        """See tab_words.NOTHING. Before the run itself begins, what its set-up says."""
        if self._process is None:
            return dict(NOTHING)
        over = self._process.poll() is not None
        try:
            seen = {**NOTHING, **json.loads(self._live().read_text(encoding="utf-8"))}
        except (OSError, ValueError):
            seen = {**NOTHING, "running": True, "words": self._last_line() or "starting"}
        if over and seen["running"]:
            told = "Stopped. What is drawn is kept; the same plan goes on from there." if self._stopped else self._why()
            seen |= {"running": False, "said": told, "kind": "note" if self._stopped else "error"}
        if seen["report"]:
            seen["report"] = str(self._folder / seen["report"])
        return seen

    def _live(self) -> Path:
        return self._folder / "live.json"

    def _log(self) -> Path:
        return self._folder / "run.log"

    def _why(self) -> str:
        return self._last_line() or f"The lab's process ended with status {self._process and self._process.returncode}."

    def _last_line(self) -> str:
        try:
            lines = self._log().read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.rpartition("\r")[2].strip() for line in reversed(lines) if line.strip()), "")


def _environment(auth: str) -> dict[str, str]:
    """Ours, without what is meant for the WebUI's own Python and torch."""
    theirs = ("PYTHONPATH", "PYTHONHOME", "TORCH_COMMAND", "VIRTUAL_ENV")
    ours = {name: value for name, value in os.environ.items() if name not in theirs}
    return {**ours, "NAGTIME_API_AUTH": auth} if auth else ours
