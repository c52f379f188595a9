"""Every fixed phrase that the panel and our page of Settings can show, as hosts' localisation sees them: collected by
building the panel and going through what its events answer. No model, no host."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace

import gradio as gr

from extras.nag.fields import FIELDS
from extras.nag.presetbook import RULES, list_presets
from extras.nag.selector import LayerError
from extras.nag.settings import SettingsError
from extras.nag.ui import message
from extras.nag.ui.markup import refused
from extras.nag.ui.panel import Panel
from extras.nag.ui.panel_layers import LayerTable
from extras.nag.ui.panel_presets import NONE, described

FOLDER = "NAG_TIME_PRESETS"
VARIABLE = ("svg", "td", "li", "b")
"""Elements whose text varies: numbers, names, what was typed. Hosts find no translation for it, and need none."""


class _Texts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self._inside = [], []

    def handle_starttag(self, tag, attrs):
        if tag in VARIABLE:
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data):
        if data.strip() and not self._inside:
            self.found.append(data.strip())


def texts(html: str) -> list[str]:
    """The text nodes of some HTML that a translation is for."""
    parser = _Texts()
    parser.feed(html)
    return parser.found


def shown() -> set[str]:
    """All of them."""
    panel = Panel(SimpleNamespace(last=message.NOTHING_YET), _grid, count_tokens=lambda *a: "")
    with gr.Blocks() as page:
        panel.build("txt2img")
    found: set[str] = {"NAG Time"}
    for block in page.blocks.values():
        found |= _of_component(block)
    for field in FIELDS.values():
        found |= {field.label, field.help, *field.choices}
    with _own_presets_in_a_folder_of_their_own():
        for html in _answers(panel):
            found.update(texts(html))
    return (found | _settings_page()) - {"0/75", ""}


def _of_component(block) -> set[str]:
    if isinstance(block, gr.HTML):
        return set(texts(block.value or ""))
    found = {getattr(block, name, None) for name in ("label", "info", "placeholder")}
    if isinstance(block, gr.Button):
        hidden = "nag-time-hidden" in (block.elem_classes or [])
        found = set() if hidden else {block.value}
    return {text for text in found if isinstance(text, str)}


def _answers(panel):
    """HTML of what the events answer, in every case."""
    window = {"start": 0.2, "end": 0.6, "ramp_steps": 3, "cooldown": 0.3}
    for shape, cfg in ((window, 7), (window, 1), (window, None), ({"nag": False}, 1), ({"scale": 1}, 1)):
        yield panel.plot(shape, steps=8, cfg_scale=cfg)
    yield panel.plot({"start": 0.9, "end": 0.95}, steps=4)
    yield panel.plot({"start": 0.9, "end": 0.5})
    yield panel.plot({"scale": 99})
    yield panel.plot({}, sampling="Adaptive")
    yield panel.plot({}, sampling="None")
    presets = panel.presets
    yield presets.applied(NONE)[0]
    for name in (*list_presets(), "no such"):
        yield presets.applied(name)[0]
        yield presets.host_updates(name, {})[0]
    yield described(SimpleNamespace(note="x", source="y", host={}, builtin=False))
    values = [FIELDS[f].default for f in FIELDS if f not in ("enabled", "negative")]
    yield presets.saved("Mine", None, values, {})[0]
    yield presets.deleted("Mine")[0]
    yield presets.deleted("no such")[0]
    with _own_presets_in_a_folder_of_their_own() as folder:
        (folder / "file").touch()
        os.environ[FOLDER] = str(folder / "file")  # no folder: it cannot be written
        yield presets.saved("Mine", None, values, {})[0]
    for rule in RULES:
        yield refused(SettingsError("preset", "x", rule))
    layer = SimpleNamespace(name="a.attn2", alias="", notation="d0", place="", kind="cross", heads=1, width=8)
    for layers_of in (lambda: [layer], _no_model):
        for selector, part in (("all", ""), ("d7", ""), ("all", "zzz")):
            yield from LayerTable(layers_of).listed(selector, part)
    steps = [{"step": 1, "change": 0.1}]
    report = SimpleNamespace(
        guided_steps=[1], steps=2, layers=1, calls=1, mean_change=0.1, per_step=steps, error="", warnings=[]
    )
    yield message.report_html({"": report, "hires": report})
    yield message.error_html("x")
    yield message.off_html()


def _settings_page() -> set[str]:
    """The labels of our options, with their remarks as A1111 shows them."""
    from extras.nag.ui.options import SECTION, add_options

    found = {SECTION[1]}

    class Option:
        def __init__(self, default, label, *rest, **more):
            found.add(label)

        def info(self, text):
            found.add(f"({text})")
            return self

    shared = ModuleType("modules.shared")
    shared.OptionInfo, shared.opts = Option, SimpleNamespace(add_option=lambda key, option: None)
    package = ModuleType("modules")
    package.shared = shared
    kept = {name: sys.modules.pop(name, None) for name in ("modules", "modules.shared")}
    sys.modules |= {"modules": package, "modules.shared": shared}
    try:
        add_options()
    finally:
        for name, module in kept.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    return found


@contextmanager
def _own_presets_in_a_folder_of_their_own():
    before = os.environ.get(FOLDER)
    with TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(FOLDER) if before is None else os.environ.update({FOLDER: before})


def _grid(sampler, scheduler, steps, denoise=None):
    times = [] if sampler == "None" else [999 * (1 - i / steps) for i in range(steps)]
    return SimpleNamespace(times=times, sigmas=times, exact=sampler != "Adaptive")


def _no_model():
    raise LayerError("no model is loaded yet")
