"""The tab's runs in the Studio: a thread of this process, drawn by the page's own engine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from .tab_words import BUSY, NOTHING


class RunsHere:
    """One run at a time. ``studio``: a loaded `extras.studio.engine.Engine`; ``engine``: draws in its place."""

    def __init__(self, studio: Any, engine: Any = None):
        self.studio, self.engine = studio, engine
        self.thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._view: Any = None

    def start(self, text: str, name: str) -> str:
        """Run the plan of ``text`` in a folder of that name. A sentence where that cannot be, else nothing."""
        if self.thread is not None and self.thread.is_alive():
            return BUSY
        try:
            from .live import View
        except ModuleNotFoundError as error:
            return missing(error)
        folder = Path(self.studio.outputs_dir) / "lab" / name
        self._stop, self._view = threading.Event(), View(folder)
        self.thread = threading.Thread(target=self._work, args=(text, folder, self._view), name="lab", daemon=True)
        self.thread.start()
        return ""

    def stop(self) -> None:
        """End it between two groups of pictures."""
        self._stop.set()

    def look(self) -> dict[str, Any]:
        """See tab_words.NOTHING."""
        return self._view.look() if self._view is not None else dict(NOTHING)

    def _work(self, text: str, folder: Path, view: Any) -> None:
        from .errors import LabError

        try:
            from . import plan, runner
            from .report import write_report

            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "plan.yaml"
            path.write_text(text, encoding="utf-8")
            wanted = plan.load(path)
            outcome = runner.run(
                wanted, text, folder, self.engine or self._own(), show=view.show, say=lambda told: None,
                stop=self._stop.is_set, between=lambda store: view.between(store, wanted),
            )  # fmt: skip
            said = "; ".join([outcome.summary(), *outcome.errors[:3]])
            view.end(said, "error" if outcome.errors else "note", write_report(folder))
        except LabError as error:
            view.end(str(error).replace(f"{folder / 'plan.yaml'}:", "line "), "error")
        except ModuleNotFoundError as error:
            view.end(missing(error), "error")
        except Exception as error:
            view.end(f"{type(error).__name__}: {error}", "error")

    def _own(self) -> Any:
        from .engines.inprocess import InProcess

        return InProcess(self.studio, self.studio.models_dir)


def missing(error: ModuleNotFoundError) -> str:
    """A package of the lab is not installed."""
    return f"{error.name} is missing: `python nagtime.py lab --help` installs the lab's packages, once"
