"""Is the target in the picture, is the subject still there, and where was the target?

For the doodle models by pixels; else by a checkpoint that the user names. Deletion is conditional: it is defined only
where the untreated picture of the same seed has the target, for elsewhere there is nothing to delete.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from PIL import Image

from extras.doodle import detect

from . import zero_shot
from .metric import NO_TWIN, Absent, Spec

DOODLE = "doodle"
MARGIN = 5  # pixels by which a found object is grown before the rest counts as background


def present(picture: Image.Image, _twin: Image.Image | None, spec: Spec) -> float | Absent:
    """1.0 where the target is in the picture, else 0.0."""
    return _sees(picture, spec["target"], spec, detect.OBJECTS, detect.has, "")


def subject_kept(picture: Image.Image, _twin: Image.Image | None, spec: Spec) -> float | Absent:
    """1.0 where what the prompt is about is in the picture, else 0.0."""
    word = spec.get("subject") or ""
    if not word:
        return Absent("the plan names no subject for this prompt")
    return _sees(picture, word, spec, detect.SUBJECTS, detect.subject_kept, "the subject ")


def deleted(picture: Image.Image, twin: Image.Image | None, spec: Spec) -> float | Absent:
    """1.0 where the target was in the untreated picture and is not in this one, 0.0 where it still is."""
    if twin is None:
        return NO_TWIN
    had = present(twin, None, spec)
    if isinstance(had, Absent):
        return had
    if not had:
        return Absent("nothing to delete: the untreated picture does not have the target")
    has = present(picture, None, spec)
    return has if isinstance(has, Absent) else 1.0 - has


def clean(picture: Image.Image, twin: Image.Image | None, spec: Spec) -> float | Absent:
    """1.0 where the target was deleted and the subject is still there; only where the untreated picture has both."""
    gone = deleted(picture, twin, spec)
    if isinstance(gone, Absent):
        return gone
    kept, was = subject_kept(picture, None, spec), subject_kept(twin, None, spec)
    if isinstance(kept, Absent) or isinstance(was, Absent):
        return kept if isinstance(kept, Absent) else was
    return gone * kept if was else Absent("the untreated picture does not have the subject")


def region(picture: Image.Image, spec: Spec) -> np.ndarray | Absent:
    """Where the target is, grown by a margin: bool (H, W); nowhere where it is not."""
    target = spec["target"]
    if _folder(spec) is not None:
        found = zero_shot.find(_folder(spec), picture, target)
        return found if isinstance(found, Absent) else found.mask(picture.size, MARGIN)
    if target not in detect.OBJECTS:
        return Absent(f"the pixel detector does not know {target!r}, so there is no background to tell from it")
    return detect.region(_pixels(picture), target, MARGIN)


def _sees(
    picture: Image.Image,
    word: str,
    spec: Spec,
    known: Collection[str],
    by_pixels: Callable[[np.ndarray, str], bool],
    kind: str,
) -> float | Absent:
    """1.0 where the detector of the plan sees ``word``. ``known``: what the pixel detector can see, by ``by_pixels``;
    ``kind``: what a word it does not know is called."""
    if _folder(spec) is not None:
        found = zero_shot.find(_folder(spec), picture, word)
        return found if isinstance(found, Absent) else float(found.present)
    if word not in known:
        return Absent(f"the pixel detector does not know {kind}{word!r}; it knows {', '.join(known)}")
    return float(by_pixels(_pixels(picture), word))


def _folder(spec: Spec) -> str | None:
    name = spec.get("detector") or DOODLE
    return None if name == DOODLE else str(name)


def _pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))
