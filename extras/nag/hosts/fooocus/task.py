"""What one Fooocus task asks of guidance, what came of it, and both in the picture's metadata."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, MutableSequence
from typing import Any

from ...fields import FIELDS
from ...report import Report, combine
from ...settings import Settings, SettingsError

CONTROLS = (
    "enabled", "negative", "scale", "tau", "alpha", "start", "end", "ramp_steps", "cooldown", "nag_pag_scale",
    "three_way_scale",
)  # fmt: skip
"""The options on Fooocus's page, in the order in which their values travel to the task."""
KEY = "nag_time"
LABEL, REPORT_LABEL, REPORT_KEY = "NAG Time", "NAG Time report", "nag_time_report"

_drawing: list[NagTask] = []  # the task whose picture was begun last


def last_report() -> tuple[dict[str, Report], str | None]:
    """Method -> report of the picture made last, and the error that kept guidance from it."""
    return (_drawing[-1].reports(), _drawing[-1].error) if _drawing else ({}, None)


def last_is_off() -> bool:
    """Whether the picture begun last is drawn without guidance because nobody asked for any."""
    return bool(_drawing) and _drawing[-1].settings is None and _drawing[-1].refusal is None


def last_has_no_report_yet() -> bool:
    """Whether the picture begun last is guided and not done: one that was stopped stays so."""
    return bool(_drawing) and _drawing[-1].settings is not None


class NagTask:
    """The settings of one Fooocus task and the reports of the picture in work.

    ``settings``: None where guidance is off or was asked for in a way that cannot be; then ``refusal`` says why.
    ``error``: what keeps guidance from this picture.
    """

    def __init__(self, values: Mapping[str, Any] | None = None):
        self.settings: Settings | None = None
        self.refusal: str | None = None
        self.error: str | None = None
        self._reports: dict[str, list[Report]] = {}
        try:
            settings = Settings.parse({k: v for k, v in (values or {}).items() if v is not None})
        except SettingsError as error:
            self._refuse(str(error))
        else:
            self.settings = settings if settings.enabled else None

    @classmethod
    def take(cls, arguments: MutableSequence[Any]) -> NagTask:
        """From the end of a task's reversed arguments, as Fooocus takes its own; off where there are none left."""
        if len(arguments) < len(CONTROLS):
            return cls()
        return cls({name: arguments.pop() for name in CONTROLS})

    def _refuse(self, text: str) -> None:
        self.refusal = self.error = text
        print(f"[NAG Time] guidance is off for this task: {text}", file=sys.stderr)

    def begin_picture(self) -> None:
        """A new picture: the account of the last one is over."""
        self._reports, self.error = {}, self.refusal
        _drawing[:] = [self]

    def fail(self, error: BaseException) -> None:
        """Guidance could not go on; the picture does."""
        self.error = f"{type(error).__name__}: {error}"
        print(f"[NAG Time] guidance is off for this picture: {self.error}", file=sys.stderr)

    def done(self, reports: Mapping[str, Report]) -> None:
        """One pass is over (a refiner is another)."""
        for method, report in reports.items():
            self._reports.setdefault(method, []).append(report)

    def reports(self) -> dict[str, Report]:
        """Method -> report of the picture so far."""
        return {method: combine(every) for method, every in self._reports.items()}

    def tell(self) -> None:
        """The console's line for the picture."""
        for report in self.reports().values():
            print(f"[NAG Time] {report.summary()}")

    def log(self) -> list[tuple[str, str, str]]:
        """(label, key, value) for Fooocus's log and metadata: what differs from the default, and what came of it."""
        if self.settings is None:
            return [(REPORT_LABEL, REPORT_KEY, self.refusal)] if self.refusal else []
        texts = [report.summary() for report in self.reports().values()]
        if self.error:
            texts.append(self.error)
        changed = json.dumps(self.settings.changed(), ensure_ascii=False)
        return [(LABEL, KEY, changed), (REPORT_LABEL, REPORT_KEY, " | ".join(texts) or "no report")]


def logged(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Our entries of a picture's log under the names they have in A1111's scheme, where there are any."""
    return {label: metadata[key] for label, key in ((LABEL, KEY), (REPORT_LABEL, REPORT_KEY)) if key in metadata}


def restored(metadata: Mapping[str, Any]) -> list[Any]:
    """The value of each control for a picture's metadata, or for one of Fooocus's presets.

    A picture without our entry was made without guidance: that switches it off and leaves the rest. A preset says
    nothing of guidance and leaves all as it is.
    """
    import gradio

    kept = metadata.get(KEY, metadata.get(LABEL))
    if kept is None:
        of_picture = "version" in metadata or "Version" in metadata
        return [False if of_picture and name == "enabled" else gradio.update() for name in CONTROLS]
    try:
        settings = Settings.parse(json.loads(kept) if isinstance(kept, str) else kept)
    except (SettingsError, ValueError) as error:
        print(f"[NAG Time] the picture's settings cannot be read: {error}", file=sys.stderr)
        return [gradio.update() for _ in CONTROLS]
    values = settings.to_dict()
    return [values.get(name, FIELDS[name].default) for name in CONTROLS]
