"""What there is to see of a run while it goes on: its bar, table and plot. For a page of this process, or in a file for
a page of another one."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from .errors import LabError
from .progress import Progress, clock
from .store import Store
from .tab_plot import Dot, svg
from .tab_words import NOTHING, table

EVERY = 4.0
"""Seconds between two measurements of what is drawn so far."""
HEAD = ("model", "arm", "steps guided", "pictures", "deleted", "clean", "SSIM outside", "seconds")


class View:
    """A run as it is seen. Give `show` and `between` to the runner, and `end` it; `look` is for the page. ``file``:
    where looks are kept for the page of another process."""

    def __init__(self, folder: Path, file: Path | None = None):
        self.folder, self.file = folder, file
        self._seen: dict[str, Any] = {**NOTHING, "running": True, "words": "starting"}
        self._measured = self._drawn = self._kept = -EVERY

    def show(self, progress: Progress) -> None:
        """The runner's report."""
        self._seen |= {"share": (progress.done + progress.failed) / max(progress.total, 1), "words": _words(progress)}
        if self.file is not None and time.monotonic() - self._kept > 1:
            self._keep()

    def between(self, store: Store, plan: Any) -> None:
        """Measure what is drawn so far, now and then: the table and the plot are alive."""
        from .measure import measure

        if time.monotonic() - self._measured > EVERY:
            measure(store, plan, sets=False)
            self._measured = time.monotonic()

    def end(self, said: str, kind: str = "note", report: Path | None = None) -> None:
        """It is over. ``kind``: note or error."""
        self._drawn = -EVERY
        self._seen |= {"running": False, "said": said, "kind": kind, "report": str(report or ""), "words": ""}
        if self.file is not None:
            self._keep()

    def look(self) -> dict[str, Any]:
        """See tab_words.NOTHING."""
        if time.monotonic() - self._drawn > EVERY:
            self._drawn = time.monotonic()
            self._seen |= _results(self.folder)
        return dict(self._seen)

    def _keep(self) -> None:
        assert self.file is not None
        draft = self.file.with_suffix(".part")
        try:
            draft.write_text(json.dumps(self.look()), encoding="utf-8")
            os.replace(draft, self.file)
        except OSError:
            pass  # a full disk ends the run by itself, in a sentence; a page that reads meanwhile (Windows) looks again
        self._kept = time.monotonic()


def _words(progress: Progress) -> str:
    words = f"{progress.stage} {progress.done} of {progress.total}"
    if progress.failed:
        words += f", {progress.failed} failed"
    if progress.rate and progress.left is not None:
        words += f", {progress.rate:.0f} a minute, {clock(progress.left)} left"
    return words


def _results(folder: Path) -> dict[str, str]:
    """The table and the plot of what there is; nothing where there is nothing yet."""
    try:
        with Store.read(folder) as store:
            frame = store.frame()
    except LabError:
        return {}
    if frame.empty:
        return {}
    for name in ("deleted", "clean", "ssim_background"):
        if name not in frame:
            frame[name] = float("nan")
    arms = frame.groupby(["model", "arm", "family", "guided"], sort=False)
    sums = arms.agg(
        pictures=("cell", "size"), deleted=("deleted", "mean"), clean=("clean", "mean"),
        ssim=("ssim_background", "mean"), seconds=("seconds", "median"),
    ).reset_index()  # fmt: skip
    rows = sums[["model", "arm", "guided", "pictures", "deleted", "clean", "ssim", "seconds"]]
    several = sums["model"].nunique() > 1
    dots = [
        Dot(f"{r['model']}: {r['family']}" if several else r["family"], r["arm"], r["ssim"], r["deleted"])
        for r in sums.dropna(subset=["deleted", "ssim"]).to_dict("records")
    ]
    return {
        "table": table(HEAD, rows.to_numpy().tolist()),
        "plot": svg(dots, "SSIM outside the target", "deleted"),
    }
