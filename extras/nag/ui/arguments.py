"""The values a WebUI hands to a script -> Settings: the panel's list, or one typed object from the HTTP
API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..field import MAX_TEXT, SettingsError
from ..fields import FIELDS
from ..settings import Settings
from .axes import override

MAX_IMAGES = 1000


@dataclass(frozen=True)
class Request:
    """What one generation asks for. ``negatives``: one text for all images, or one per image of the job."""

    settings: Settings
    negatives: tuple[str, ...]


def parse_arguments(args: Sequence[object], axes: Mapping[str, Any] | None = None) -> Request | None:
    """The request, or None when guidance is off. SettingsError names field, value and what is allowed.

    ``args``: values in the order of FIELDS (fewer is fine), or first an object like ``{"negative": "glasses",
    "scale": 3}``, which means enabled unless it says otherwise; its ``negative`` may be a list of texts.
    ``axes``: what the cell of a plot sets in their place. Options that are switched off are not checked.
    """
    if args and isinstance(args[0], Mapping):
        values: dict[str, object] = {"enabled": True, **{str(k): v for k, v in args[0].items()}}
    else:
        values = dict(zip(FIELDS, args, strict=False))
    values = override(values, axes or {})
    if values.get("enabled", False) is False:
        return None
    negative = values.get("negative", "")
    if isinstance(negative, (list, tuple)):
        texts = _texts(negative)
        settings = Settings.parse({**values, "negative": texts[0]})
    else:
        settings = Settings.parse(values)
        texts = (settings.negative,)
    return Request(settings, texts) if settings.enabled else None


def check_count(request: Request, images: int) -> None:
    """SettingsError unless there is one negative, or one for each of the job's images."""
    if len(request.negatives) not in (1, images):
        allowed = f"one text, or {images} texts, one per image"
        raise SettingsError("negative", list(request.negatives), allowed)


def _texts(negative: Sequence[object]) -> tuple[str, ...]:
    allowed = f"a text, or a list of 1 to {MAX_IMAGES} texts of at most {MAX_TEXT} characters"
    if not 1 <= len(negative) <= MAX_IMAGES:
        raise SettingsError("negative", list(negative)[:10], allowed)
    try:
        return tuple(FIELDS["negative"].check(text) for text in negative)
    except SettingsError as error:
        raise SettingsError("negative", error.value, allowed) from None
