"""The way of one job through the front door: arguments in, guidance, infotext and report out. No gradio."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..fields import SettingsError
from . import infotext, message
from .arguments import check_count, parse_arguments


class FrontDoor:
    """One per tab. ``host``: a module of hosts/ with start(), end_all(), session_of().

    ``last``: the report of the latest job as HTML.
    """

    def __init__(self, host: Any):
        self.host = host
        self.last = message.NOTHING_YET

    def process(self, p: Any, args: Sequence[object]) -> None:
        """A job begins. What an earlier one left is undone, guided or not; bad options end in a message."""
        self.host.end_all(p)
        infotext.clear(p.extra_generation_params)
        try:
            request = parse_arguments(args)
            if request is None:
                self.last = message.off_html()
                return
            check_count(request, len(p.all_prompts))
        except SettingsError as error:
            self._refuse(p, error)
            return
        infotext.write_settings(request, p.extra_generation_params)
        self.host.start(p, request.settings, request.negatives, self._ended)

    def before_sampling(self, p: Any) -> None:
        """A pass begins."""
        session = self.host.session_of(p)
        if session is not None:
            session.before_sampling()

    def batch_done(self, p: Any) -> None:
        """The metadata of this batch's pictures is about to be written."""
        session = self.host.session_of(p)
        if session is not None:
            infotext.write_report(session.passes(), p.extra_generation_params)

    def done(self, p: Any, processed: Any) -> None:
        """The job is over: tell under the picture, and in the API's answer."""
        session = self.host.session_of(p)
        if session is None:
            return
        session.end()
        passes = session.passes()
        say(p, processed, message.summary(passes))
        if getattr(p, "is_api", False):
            report = {name or "picture": r.to_dict() for name, r in passes.items()}
            processed.extra_generation_params["NAG report"] = report

    def _ended(self, session: Any) -> None:
        passes = session.passes()
        self.last = message.report_html(passes)
        if any(report.warnings for report in passes.values()):
            print(f"[NAG Time] {message.summary(passes)}", file=sys.stderr)

    def _refuse(self, p: Any, error: SettingsError) -> None:
        text = f"NAG is off for this run. {error}"
        print(f"[NAG Time] {text}", file=sys.stderr)
        infotext.write_error(error, p.extra_generation_params)
        p.comment(text)
        self.last = message.error_html(text)


def say(p: Any, processed: Any, text: str) -> None:
    """Put a line into the list under the picture; hosts make that list before or after ``postprocess``."""
    p.comment(text)
    if text not in processed.comments:
        processed.comments += text + "\n"
