"""Settings into a picture's metadata and back. Only what differs from the default is written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from ..field import Field, SettingsError
from ..fields import FIELDS
from ..report import Report
from ..schedule import ranges
from .arguments import Request

PREFIX = "NAG "
GUIDED, ERROR, WARNING = "NAG guided steps", "NAG error", "NAG warning"
REPORT_KEYS = (GUIDED, ERROR, WARNING)
_ONE_LINE = re.compile(r"\s+")
_SIZE = re.compile(r"\d+x\d+")  # hosts read it as two numbers


def clear(params: MutableMapping[str, Any]) -> None:
    """Remove everything of ours: hosts reuse the mapping for the next picture of a grid."""
    for key in [k for k in params if k.startswith(PREFIX)]:
        del params[key]


def write_settings(request: Request, job: Any) -> None:
    """The enabled flag and every option that differs from its default, into the metadata of ``job``."""
    params = job.extra_generation_params
    for name, value in {"enabled": True, **request.settings.changed()}.items():
        params[FIELDS[name].infotext_key] = encode(value, FIELDS[name].infotext_key)
    if len(set(request.negatives)) > 1:
        params[FIELDS["negative"].infotext_key] = PerImage(job, request.negatives)


def write_report(passes: Mapping[str, Report], params: MutableMapping[str, Any], guided: bool = True) -> None:
    """``guided``: which steps were, pass by pass. An error or warnings where there are any."""
    for key in REPORT_KEYS:
        params.pop(key, None)
    steps = [f"{name} {ranges(r.guided_steps)} of {r.steps}".strip() for name, r in passes.items() if r.calls]
    if steps and guided:
        params[GUIDED] = "; ".join(steps)
    errors = [r.error for r in passes.values() if r.error]
    warnings = list(dict.fromkeys(w for r in passes.values() for w in r.warnings))
    if errors:
        params[ERROR] = one_line(errors[0])
    if warnings:
        params[WARNING] = one_line("; ".join(warnings))


def write_error(error: BaseException, params: MutableMapping[str, Any]) -> None:
    """Why there is no guidance at all."""
    params[ERROR] = one_line(str(error))


class Reader(str):
    """An option's key, which also reads it: hosts look for the name ("Send to") and call what they can (pasting)."""

    def __new__(cls, name: str) -> Reader:
        self = super().__new__(cls, FIELDS[name].infotext_key)
        self.field = FIELDS[name]
        return self

    field: Field

    def __call__(self, params: Mapping[str, Any]) -> Any:
        """Parsed metadata -> value of the option, of the type its control needs; None leaves the control alone.

        Where the picture was guided, what is not written had the default; where it was not, guidance is switched
        off and the other options stay.
        """
        field, key = self.field, str(self)
        if FIELDS["enabled"].infotext_key not in params:
            return False if field.name == "enabled" else None
        value = decode(params.get(key, field.default))
        if f"{key}-1" in params and f"{key}-2" in params:  # written by an older version
            value = f"{params[f'{key}-1']}x{params[f'{key}-2']}"
        try:
            return field.check(value, params.get(FIELDS["unit"].infotext_key, FIELDS["unit"].default))
        except SettingsError as error:
            print(f"[NAG Time] pasted settings: {error}")
            return None


class PerImage(list[str]):
    """A text for each image of a job. Hosts take one by the picture's place in its batch, or in the job."""

    def __init__(self, job: Any, texts: Sequence[str]):
        key = FIELDS["negative"].infotext_key
        super().__init__(encode(text, key) for text in texts)
        self.job = job

    def __getitem__(self, index: Any) -> Any:
        job = self.job
        if isinstance(index, int) and 0 <= index < job.batch_size:
            index += getattr(job, "iteration", 0) * job.batch_size
        return super().__getitem__(index)


def one_line(text: str) -> str:
    """Metadata is one line."""
    return _ONE_LINE.sub(" ", text).strip()


def encode(value: Any, key: str = "") -> str:
    """The text of a value, such that every host's reading gives it back to decode(): plain where that is safe.

    Hosts quote texts with a comma, colon or newline. Lost or changed they would otherwise be if empty, with blanks
    at an end or control characters, like a size, like the key, or with a quotation mark in front.
    """
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    control = any(c < " " or "\x7f" <= c <= "\x9f" for c in text if c != "\n")
    unsafe = control or text != text.strip() or text == key or text[:1] in ("", '"') or text[:2] == '["'
    return json.dumps([text], ensure_ascii=control) if unsafe or _SIZE.fullmatch(text) else text


def decode(value: Any) -> Any:
    """The reverse of encode(), as far as text goes."""
    if isinstance(value, str) and value.startswith('["') and value.endswith('"]'):
        try:
            (text,) = json.loads(value)
            return text
        except ValueError:
            return value
    return value
