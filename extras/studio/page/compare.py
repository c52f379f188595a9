"""A guided picture beside the same one unguided, under a slider. The second is drawn when it is asked for, and once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from extras.studio.page import jobs, paste
from modules.ui_components import InputAccordion

ASK, BACK = "Compare with unguided", "Back to the pictures"
LABEL = "Left: unguided. Right: guided, same seed."


@dataclass(frozen=True)
class Made:
    """A run that the page has shown. ``values``: its fields, the seed as drawn; ``args``: the scripts'; ``own``: the
    places of guidance's among them, its switch first; ``files``: its pictures; ``model``: the checkpoint's title."""

    tab: str
    model: str
    values: Mapping[str, Any]
    args: tuple
    own: range
    files: tuple[str, ...]

    @property
    def guided(self) -> bool:
        return len(self.own) > 0 and bool(self.args[self.own[0]])

    def unguided(self) -> Made:
        """The same run with guidance switched off; not drawn yet."""
        args = tuple(False if i in self.own[:1] else arg for i, arg in enumerate(self.args))
        return replace(self, args=args, files=())

    def same(self, other: Made | None) -> bool:
        """True where two unguided runs draw the same pictures, whatever guidance's controls hold."""
        return other is not None and self._key() == other._key()

    def _key(self) -> tuple:
        others = [_plain(arg) for i, arg in enumerate(self.args) if i not in self.own]
        return self.tab, self.model, sorted((name, _plain(value)) for name, value in self.values.items()), others


@dataclass(frozen=True)
class Shown:
    """What a page's tab can compare. ``made``: the run in its gallery; ``plain``: the last unguided one; ``open``: the
    slider is shown in place of the gallery."""

    made: Made | None = None
    plain: Made | None = None
    open: bool = False

    def after(self, made: Made) -> Shown:
        """A run has ended."""
        return Shown(made, self.plain if made.guided else made)


def own_arguments(tab: Any) -> range:
    """The places of guidance's own controls among the arguments of a tab's scripts."""
    for script in tab.runner.scripts:
        if script.controls and isinstance(script.controls[0], InputAccordion):
            return range(script.args_from, script.args_to)
    return range(0)


def build(tab: Any) -> None:
    """The slider, in the gallery's place and not shown yet, and what a tab remembers."""
    tab.outputs["slider"] = gr.ImageSlider(
        label=LABEL,
        type="filepath",
        format="png",
        height=520,
        interactive=False,
        visible=False,
        elem_id=f"{tab.name}_compared",
        elem_classes="studio-crisp studio-compared",
        buttons=["fullscreen"],
    )
    tab.outputs["shown"] = gr.State(Shown())
    tab.outputs["chosen"] = gr.State(0)


def closed(shown: Shown) -> tuple[Any, Any, Any, Shown]:
    """(slider, gallery, button, shown) with the gallery in sight."""
    can = shown.made is not None and shown.made.guided and bool(shown.made.files)
    return (
        gr.update(visible=False),
        gr.update(visible=True),
        gr.update(value=ASK, interactive=can),
        replace(shown, open=False),
    )


def press(engine: Any, title: str, shown: Shown, chosen: int) -> Iterator[tuple]:
    """(message, progress, slider, gallery, button, shown) after a press of the button. ``title``: of the checkpoint
    that is loaded; ``chosen``: the picture's place in the gallery."""
    keep = gr.skip()
    made = shown.made
    if shown.open or made is None:
        yield "", "", *closed(shown)
        return
    plain = made.unguided()
    if not plain.same(shown.plain):
        if title != made.model:
            problem = f"The picture was drawn by {made.model}, and {title} is loaded now: generate it again first."
            yield paste.message(problem, "error"), "", keep, keep, keep, keep
            return
        quiet = {"do_not_save_samples": True, "do_not_save_grid": True}
        job = jobs.Job(engine, made.tab).start({**plain.values, **quiet}, plain.args)
        for share, words, _ in job.watch():
            yield "", jobs.bar(share, f"unguided: {words}"), keep, keep, keep, keep
        if job.error or job.interrupted:
            problem = job.error or "Interrupted: there is no unguided picture to compare with."
            yield paste.message(problem, "error"), "", keep, keep, keep, keep
            return
        shown = replace(shown, plain=replace(plain, files=tuple(job.files)))
    assert shown.plain is not None
    place = chosen if chosen < len(shown.plain.files) else 0  # a map of where guidance acted has no twin
    pair = (shown.plain.files[place], made.files[place])
    yield (
        "",
        "",
        gr.update(value=pair, visible=True),
        gr.update(visible=False),
        gr.update(value=BACK),
        replace(shown, open=True),
    )


def _plain(value: Any) -> str:
    if isinstance(value, Image.Image):
        return f"{value.mode} {value.size} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return repr(float(value)) if isinstance(value, (int, float)) else repr(value)
