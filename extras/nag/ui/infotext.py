"""Settings into a picture's metadata and back. Only what differs from the default is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from ..fields import FIELDS, SettingsError
from ..report import Report
from ..schedule import ranges
from .arguments import Request

PREFIX = "NAG "
GUIDED, ERROR, WARNING = "NAG guided steps", "NAG error", "NAG warning"
REPORT_KEYS = (GUIDED, ERROR, WARNING)
_ONE_LINE = re.compile(r"\s+")


def clear(params: MutableMapping[str, Any]) -> None:
    """Remove everything of ours: hosts reuse the mapping for the next picture of a grid."""
    for key in [k for k in params if k.startswith(PREFIX)]:
        del params[key]


def write_settings(request: Request, params: MutableMapping[str, Any]) -> None:
    """The enabled flag and every option that differs from its default."""
    for name, value in {"enabled": True, **request.settings.changed()}.items():
        params[FIELDS[name].infotext_key] = _text(value)
    if len(set(request.negatives)) > 1:
        params[FIELDS["negative"].infotext_key] = _per_image(request.negatives)


def write_report(passes: Mapping[str, Report], params: MutableMapping[str, Any]) -> None:
    """Which steps were guided, pass by pass; an error or warnings where there are any."""
    for key in REPORT_KEYS:
        params.pop(key, None)
    steps = [f"{name} {ranges(r.guided_steps)} of {r.steps}".strip() for name, r in passes.items() if r.calls]
    if steps:
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


def reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """Parsed metadata -> value of the option, of the type its control needs; None leaves the control alone.

    Where the picture was guided, what is not written had the default; where it was not, guidance is switched
    off and the other options stay.
    """
    field = FIELDS[name]

    def read(params: Mapping[str, Any]) -> Any:
        if FIELDS["enabled"].infotext_key not in params:
            return False if name == "enabled" else None
        key = field.infotext_key
        value = params.get(key, field.default)
        if f"{key}-1" in params and f"{key}-2" in params:  # hosts take "64x64" for a size
            value = f"{params[f'{key}-1']}x{params[f'{key}-2']}"
        try:
            unit = params.get(FIELDS["unit"].infotext_key, FIELDS["unit"].default)
            return field.check(value, unit)
        except SettingsError as error:
            print(f"[NAG Time] pasted settings: {error}")
            return None

    return read


def one_line(text: str) -> str:
    """Metadata is one line."""
    return _ONE_LINE.sub(" ", text).strip()


def _text(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _per_image(negatives: tuple[str, ...]) -> Callable[..., str]:
    """Hosts call it with the job and the picture's place in its batch."""

    def text(p: Any, index: int, **rest: Any) -> str:
        one_batch = len(p.prompts or negatives) == len(negatives)
        return negatives[min(index if one_batch else p.iteration * p.batch_size + index, len(negatives) - 1)]

    return text
