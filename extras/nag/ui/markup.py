"""HTML of the panel's own words. Hosts translate a page text node by text node, each as a whole: so a fixed phrase is
one node, and what varies (numbers, names, what was typed) is another, which no translation touches."""

from __future__ import annotations

import re
from html import escape

from ..field import SettingsError
from ..fields import FIELDS
from ..presetbook import RULES

END_RULE = "must come after the start (in sigma: below it)"
_RANGE = re.compile(r"(?:whole )?number from (\S+) to (\S+)")


class Value(str):
    """A part of a message that is not translated."""


def words(*parts: str) -> str:
    """Fixed phrases and Values, escaped, one element each."""
    return " ".join(
        f'<b class="nag-time-value">{escape(part)}</b>' if isinstance(part, Value) else f"<span>{escape(part)}</span>"
        for part in parts
    )


def note(*parts: str, kind: str = "note") -> str:
    """One paragraph. ``kind``: note, none, warning or error."""
    alert = ' role="alert"' if kind == "error" else ""
    return f'<p class="nag-time-{kind}"{alert}>{words(*parts)}</p>'


def refused(error: SettingsError) -> str:
    """What was given and what is allowed instead, a line for each field."""
    return "".join(note(*_refusal(*line), kind="error") for line in error.errors)


def _refusal(name: str, value: object, allowed: str) -> list[str]:
    if name not in FIELDS:
        given = Value(value if isinstance(value, str) else repr(value))
        label = "Preset" if name == "preset" else Value(name)
        known = allowed in RULES
        return [label, given, "is not possible. Allowed:", allowed if known else Value(allowed)]
    label, given = FIELDS[name].label, Value(_short(value))
    span = _RANGE.fullmatch(allowed)
    if span:
        return [label, given, "is not possible. Allowed:", Value(f"{span[1]} … {span[2]}")]
    if name == "end":
        return [label, given, END_RULE]
    return [label, given, "is not possible. Allowed:", Value(allowed)]


def _short(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
