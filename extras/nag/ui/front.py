"""The way of one job through the front door: arguments in, guidance, infotext and report out. No gradio."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from html import escape
from typing import Any, TypeVar

from ..field import SettingsError
from ..presetbook import load_preset
from ..suggest import suggest
from . import axes, infotext, message, options
from .arguments import check_count, parse_arguments
from .gallery import Gallery
from .markup import Value, note

F = TypeVar("F", bound=Callable[..., None])


def _caught(method: F) -> F:
    """Our own error switches guidance off for this job and is told; hosts would swallow it, or end the job."""

    @functools.wraps(method)
    def guarded(self: FrontDoor, p: Any, *args: Any) -> None:
        try:
            method(self, p, *args)
        except Exception as error:
            self._fail(p, error)

    return guarded  # type: ignore[return-value]


class FrontDoor:
    """One per tab. ``host``: hosts/webui, or a module with the same functions.

    ``last``: the report of the latest job as HTML.
    """

    def __init__(self, host: Any):
        self.host = host
        self.last = message.NOTHING_YET

    @_caught
    def before(self, p: Any, args: Sequence[object]) -> None:
        """Before the host chooses a model: a hand-off begins with another one. Errors are told by process()."""
        p.nag_time_refused = None
        try:
            request = parse_arguments(args, axes.values_of(p))
            if request is not None:
                self.host.prepare_handoff(p, request.settings)
        except SettingsError as error:
            p.nag_time_refused = error

    @_caught
    def before_batch(self, p: Any) -> None:
        """A batch begins; the host has not encoded its prompts yet."""
        self.host.begin_batch(p)

    @_caught
    def process(self, p: Any, args: Sequence[object]) -> None:
        """A job begins. What an earlier one left is undone, guided or not; bad options end in a message."""
        self.host.end_all(p)
        p.nag_time_gallery, p.nag_time_comments = None, []
        infotext.clear(p.extra_generation_params)
        try:
            request = parse_arguments(args, axes.values_of(p))
            if request is None:
                self.last = message.off_html()
                return
            if getattr(p, "nag_time_refused", None) is not None:
                raise p.nag_time_refused
            check_count(request, len(p.all_prompts))
        except SettingsError as error:
            self._refuse(p, error)
            return
        infotext.write_settings(request, p)
        session = self.host.start(p, request.settings, request.negatives, lambda session: self._ended(p, session))
        p.nag_time_gallery = Gallery(session.map) if session.map is not None else None

    @_caught
    def before_sampling(self, p: Any) -> None:
        """A pass begins."""
        session = self.host.session_of(p)
        if session is not None:
            session.before_sampling()

    @_caught
    def batch_done(self, p: Any) -> None:
        """The metadata of this batch's pictures is about to be written."""
        self.host.end_batch(p)
        session = self.host.session_of(p)
        if session is not None:
            self._map(p, session, lambda gallery: gallery.batch_done(len(p.prompts)))
            infotext.write_report(session.passes(), p.extra_generation_params, options.get(options.REPORT))

    @_caught
    def picture(self, p: Any, image: Any) -> None:
        """The next picture of the job is ready."""
        session = self.host.session_of(p)
        if session is not None:
            self._map(p, session, lambda gallery: gallery.see(image))

    @_caught
    def done(self, p: Any, processed: Any) -> None:
        """The job is over: tell under the picture, and in the API's answer."""
        for text in getattr(p, "nag_time_comments", ()):
            say(p, processed, text)
        session = self.host.session_of(p)
        if session is None:
            return
        session.end()
        self._map(p, session, lambda gallery: gallery.append(p, processed))
        passes = session.passes()
        if options.get(options.TELL) or any(report.error or report.warnings for report in passes.values()):
            say(p, processed, message.summary(passes))
        if getattr(p, "is_api", False):
            report = {name or "picture": r.to_dict() for name, r in passes.items()}
            # into a copy: a plot writes the job's own mapping into the grid's metadata
            processed.extra_generation_params = {**processed.extra_generation_params, "NAG report": report}

    @_caught
    def _ended(self, p: Any, session: Any) -> None:
        passes = session.passes()
        self.last = message.report_html(passes) + self._suggestion(p, session)
        if any(report.warnings or report.error for report in passes.values()):
            print(f"[NAG Time] {message.summary(passes)}", file=sys.stderr)

    def _suggestion(self, p: Any, session: Any) -> str:
        """A preset made for this model, where another strength was in use."""
        name = suggest(self.host.names_in_use(p))
        if not name or not session.settings.nag:
            return ""
        preset = load_preset(name)
        used = session.settings.to_dict()
        if all(used[field] == preset.settings[field] for field in ("scale", "tau", "alpha")):
            return ""
        return note("There is a preset for this model:", Value(name))

    def _map(self, p: Any, session: Any, do: Callable[[Gallery], str | None]) -> None:
        """Go on with the map, where the job has one; trouble with it is no trouble of the guidance."""
        gallery = getattr(p, "nag_time_gallery", None)
        if gallery is None:
            return
        try:
            reason = do(gallery)
        except Exception as error:
            reason, p.nag_time_gallery = f"no map: {type(error).__name__}: {error}", None
        if reason and reason not in session.warnings:
            session.warnings.append(reason)

    def _fail(self, p: Any, error: Exception) -> None:
        """Tell an error that nobody foresaw wherever it can still be told, whatever else fails."""
        p.nag_time_refused = error  # where the job has not begun, process() tells it again
        with suppress(Exception):
            session = self.host.session_of(p)
            if session is not None:
                session.fail(error)
        text = f"NAG stopped: {type(error).__name__}: {error}"
        self.last = f'<ul class="nag-time-error"><li>{escape(text)}</li></ul>'
        with suppress(Exception):
            print(f"[NAG Time] {text}", file=sys.stderr)
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        with suppress(Exception):
            comment(p, text)
        with suppress(Exception):
            p.extra_generation_params[infotext.ERROR] = infotext.one_line(text)

    def _refuse(self, p: Any, error: SettingsError) -> None:
        text = f"NAG is off for this run. {error}"
        print(f"[NAG Time] {text}", file=sys.stderr)
        infotext.write_error(error, p.extra_generation_params)
        comment(p, text)
        self.last = message.error_html(text)


def comment(p: Any, text: str) -> None:
    """Into the list under the picture. SD.Next never shows what jobs have there: done() says it again."""
    if hasattr(p, "nag_time_comments"):
        p.nag_time_comments.append(text)
    p.comment(text)


def say(p: Any, processed: Any, text: str) -> None:
    """Put a line into the list under the picture; hosts make that list before or after ``postprocess``."""
    p.comment(text)
    if text not in processed.comments:
        processed.comments += text + "\n"
