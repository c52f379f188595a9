"""A press of Generate: run the job in a thread and tell the page how far it is."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

POLL_SECONDS = 0.1
PREVIEW_AFTER_SECONDS = 1.0


@dataclass
class Job:
    """What a running or finished job has to show. ``error``: text for the user; ``files``: PNGs; ``texts``: theirs."""

    engine: Any
    tab: str
    files: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    comments: str = ""
    error: str = ""
    interrupted: bool = False
    seconds: float = 0.0
    thread: threading.Thread | None = None

    def start(self, values: dict[str, Any], script_args: tuple) -> Job:
        """Begin in a thread. ``values``: the engine's field -> value, unchecked: the engine checks."""
        self.thread = threading.Thread(target=self._work, args=(values, script_args), name="generate", daemon=True)
        self.thread.start()
        return self

    def _work(self, values: dict[str, Any], script_args: tuple) -> None:
        began = time.monotonic()
        try:
            run = self.engine.img2img if self.tab == "img2img" else self.engine.txt2img
            processed = run(values, script_args)
            self.seconds, self.interrupted = time.monotonic() - began, bool(self.engine.state.interrupted)
            self.comments, self.texts = processed.comments, list(processed.infotexts)
            self.files = [saved(image, str(self.engine.outputs_dir)) for image in processed.images]
        except Exception as error:
            self.error = explain(error)

    def watch(self) -> Iterator[tuple[float, str, Image.Image | None]]:
        """(share done 0..1, words, preview or None) every now and then until the job ends."""
        assert self.thread is not None
        began, seen, state = time.monotonic(), self.engine.state.id_live_preview, self.engine.state
        while self.thread.is_alive():
            self.thread.join(POLL_SECONDS)
            preview = None
            if time.monotonic() - began > PREVIEW_AFTER_SECONDS and state.id_live_preview not in (0, seen):
                seen, preview = state.id_live_preview, state.current_image
            yield self.engine.progress()["progress"], words(state), preview


def words(state: Any) -> str:
    """How far the running job is, for people."""
    if state.interrupted:
        return "interrupting"
    if not state.sampling_steps or state.job_count <= 0:
        return "starting"
    text = f"step {min(state.sampling_step + 1, state.sampling_steps)} of {state.sampling_steps}"
    return (
        text if state.job_count == 1 else f"{text}, part {min(state.job_no + 1, state.job_count)} of {state.job_count}"
    )


def bar(share: float, words: str) -> str:
    """A progress bar as HTML. ``share``: 0..1."""
    percent = f"{100 * share:.0f}"
    return (
        '<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><div style="width:{percent}%"></div><span>{words}</span></div>'
    )


def saved(image: Image.Image, outputs: str) -> str:
    """A PNG file of the picture with its infotext: the one written already, else a new one under ``outputs``."""
    from modules import images

    path = getattr(image, "already_saved_as", None)
    if path and os.path.isfile(path):
        return str(path)
    folder = os.path.join(outputs, "unsaved")
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".png", delete=False) as file:
        file.write(images.png_bytes(image))
    return file.name


def explain(error: Exception) -> str:
    """What a user is told. The traceback goes to the console when the error is not of the user's making."""
    if isinstance(error, (ValueError, FileNotFoundError)):
        return str(error)
    if "out of memory" in str(error).lower():
        return "There is not enough memory for this size and batch: make them smaller."
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"
