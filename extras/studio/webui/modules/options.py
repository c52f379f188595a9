"""Settings: what they are called, their defaults, and the object that holds their values."""

from __future__ import annotations

import json
import os
from typing import ClassVar

from modules import errors


class OptionInfo:
    """One setting. ``infotext`` is the infotext label that sets it, ``section`` is (id, title)."""

    def __init__(
        self,
        default=None,
        label="",
        component=None,
        component_args=None,
        onchange=None,
        section=None,
        refresh=None,
        comment_before="",
        comment_after="",
        infotext=None,
        restrict_api=False,
        category_id=None,
    ):
        self.default, self.label, self.component, self.component_args = default, label, component, component_args
        self.onchange, self.section, self.refresh, self.category_id = onchange, section, refresh, category_id
        self.comment_before, self.comment_after = comment_before, comment_after
        self.infotext, self.restrict_api = infotext, restrict_api
        self.do_not_save = False

    def link(self, label, url):
        self.comment_before += f"[<a href='{url}' target='_blank'>{label}</a>]"
        return self

    def js(self, label, js_func):
        self.comment_before += f"[<a onclick='{js_func}(); return false'>{label}</a>]"
        return self

    def info(self, info):
        self.comment_after += f"<span class='info'>({info})</span>"
        return self

    def html(self, html):
        self.comment_after += html
        return self

    def needs_restart(self):
        return self.info("requires restart")

    def needs_reload_ui(self):
        return self.info("requires Reload UI")


class OptionHTML(OptionInfo):
    """A piece of text among the settings; it has no value."""

    def __init__(self, text):
        super().__init__(str(text).strip())
        self.do_not_save = True


def options_section(section_identifier, options_dict):
    """Put every option of the dict into one section: (id, title) or (id, title, category)."""
    for info in options_dict.values():
        info.section = tuple(section_identifier[:2])
        if len(section_identifier) > 2:
            info.category_id = section_identifier[2]
    return options_dict


class Options:
    """Values by attribute (`opts.emphasis`); `data` holds them, `data_labels` describes them."""

    typemap: ClassVar[dict] = {int: float}

    def __init__(self, data_labels: dict[str, OptionInfo], restricted_opts=()):
        object.__setattr__(self, "data_labels", data_labels)
        object.__setattr__(self, "data", {k: v.default for k, v in data_labels.items() if not v.do_not_save})
        object.__setattr__(self, "restricted_opts", set(restricted_opts))

    def __setattr__(self, key, value):
        if key in ("data", "data_labels", "restricted_opts"):
            object.__setattr__(self, key, value)
        elif key in self.data or key in self.data_labels:
            if self.data_labels.get(key) is None or not self.data_labels[key].do_not_save:
                self.data[key] = value
        else:
            object.__setattr__(self, key, value)

    def __getattr__(self, item):
        if item in ("data", "data_labels"):
            raise AttributeError(item)
        if item in self.data:
            return self.data[item]
        if item in self.data_labels:
            return self.data_labels[item].default
        raise AttributeError(f"there is no setting named {item!r}")

    def set(self, key, value, is_api=False, run_callbacks=True) -> bool:
        """Set one option; True when it changed. Runs its onchange, and undoes the change if that fails."""
        info = self.data_labels.get(key)
        old = self.data.get(key)
        if old == value and key in self.data:
            return False
        if info is not None and (info.do_not_save or (is_api and info.restrict_api)):
            return False
        try:
            setattr(self, key, value)
        except Exception:
            return False
        if run_callbacks and info is not None and info.onchange is not None:
            try:
                info.onchange()
            except Exception as error:
                errors.display(error, f"changing setting {key} to {value}")
                setattr(self, key, old)
                return False
        return True

    def get_default(self, key):
        info = self.data_labels.get(key)
        return info.default if info is not None else None

    def same_type(self, x, y) -> bool:
        return x is None or y is None or self.typemap.get(type(x), type(x)) == self.typemap.get(type(y), type(y))

    def cast_value(self, key, value):
        """``value`` in the type of that setting: cast_value("eta_noise_seed_delta", "12") is 12."""
        if value is None:
            return None
        default = self.data_labels[key].default
        if default is None:
            default = self.data.get(key)
        if default is None:
            return None
        if isinstance(default, bool):
            return str(value).strip().lower() in ("true", "1", "yes", "on")
        return type(default)(value)

    def add_option(self, key, info) -> None:
        """Declare a setting. Called by extensions from on_ui_settings."""
        self.data_labels[key] = info
        if key not in self.data and not info.do_not_save:
            self.data[key] = info.default

    def onchange(self, key, func, call=True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def reorder(self) -> None:
        """Settings keep the order in which they were declared."""

    def dumpjson(self) -> str:
        return json.dumps({k: self.data.get(k, v.default) for k, v in self.data_labels.items() if not v.do_not_save})

    def save(self, filename) -> None:
        if not filename:
            return
        os.makedirs(os.path.dirname(os.path.abspath(filename)), exist_ok=True)
        with open(filename, "w", encoding="utf8") as file:
            json.dump(self.data, file, indent=4, ensure_ascii=False, default=str)

    def load(self, filename) -> None:
        """Read saved values; a missing or damaged file leaves the defaults and says so."""
        try:
            with open(filename, encoding="utf8") as file:
                loaded = json.load(file)
        except FileNotFoundError:
            return
        except Exception:
            errors.report(f"Could not read the settings from {filename}; the defaults are used", exc_info=True)
            return
        for key, value in loaded.items():
            info = self.data_labels.get(key)
            if info is None or self.same_type(info.default, value):
                self.data[key] = value
