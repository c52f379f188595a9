"""Presence read from the pixels: is the object there, is the subject still there, and where was the object?

No learning: every deletable object has a colour of its own (see `scenes.py`). A picture counts as having the
object when at
least `least` pixels lie within `near` of one of its colours (Euclidean distance in 8-bit RGB).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import scenes as S

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How something is recognised. colours: any of these; near: colour distance (0…441); least: pixels of 128×128."""

    colours: tuple[Colour, ...]
    near: float
    least: int


OBJECTS: dict[str, Look] = {
    "glasses": Look((S.GLASSES,), 62, 90),
    "hat": Look((S.HAT,), 50, 300),
    "crown": Look((S.CROWN,), 52, 180),
    "beard": Look((S.BEARD,), 46, 250),
    "nose": Look((S.NOSE,), 72, 40),
    "flowers": Look((S.FLOWER,), 74, 110),
    "tree": Look((S.LEAVES,), 62, 200),
    "moon": Look((S.MOON,), 74, 110),
    "boat": Look((S.HULL, S.SAIL), 62, 140),
    "cactus": Look((S.CACTUS,), 62, 150),
}

_FACE = (Look((S.SKIN,), 48, 560), Look((S.HAIR,), 48, 120), Look((S.SHIRT,), 52, 500))
SUBJECTS: dict[str, tuple[Look, ...]] = {
    **dict.fromkeys((*S.PORTRAIT_WORDS, "person", "man", "woman"), _FACE),
    **dict.fromkeys(("garden", "meadow"), (Look((S.SKY,), 48, 3200), Look((S.GRASS,), 52, 2000))),
    **dict.fromkeys(("cottage", "house"), (Look((S.WALL,), 48, 600), Look((S.ROOF,), 56, 300))),
    **dict.fromkeys(("night", "evening"), (Look((S.NIGHT,), 48, 4000), Look((S.NIGHT_GRASS,), 48, 2800))),
    **dict.fromkeys(("harbor", "lake"), (Look((S.SKY,), 48, 3200), Look((S.WATER,), 52, 2000))),
    **dict.fromkeys(("desert", "dunes"), (Look((S.SKY,), 48, 3200), Look((S.SAND,), 48, 2000))),
}


def mask(picture: np.ndarray, look: Look) -> np.ndarray:
    """Pixels of that look: bool (H, W). picture: uint8 (H, W, 3) RGB."""
    pixels = picture.astype(np.int32)
    near = [((pixels - np.array(c)) ** 2).sum(-1) <= look.near**2 for c in look.colours]
    return np.logical_or.reduce(near)


def _seen(picture: np.ndarray, look: Look) -> bool:
    scale = picture.shape[0] * picture.shape[1] / S.SIZE**2
    return int(mask(picture, look).sum()) >= look.least * scale


def has(picture: np.ndarray, object_: str) -> bool:
    """Is the object in the picture? object_: a key of `OBJECTS`; another name is a KeyError that lists them."""
    if object_ not in OBJECTS:
        raise KeyError(f"object: {object_!r} is unknown; known are {', '.join(OBJECTS)}")
    return _seen(picture, OBJECTS[object_])


def subject_kept(picture: np.ndarray, word: str) -> bool:
    """Is the caption's subject (a face, a cottage, a field under a night sky …) there? word: a key of `SUBJECTS`."""
    if word not in SUBJECTS:
        raise KeyError(f"subject: {word!r} is unknown; known are {', '.join(SUBJECTS)}")
    return all(_seen(picture, look) for look in SUBJECTS[word])


def region(picture: np.ndarray, object_: str, margin: int = 5) -> np.ndarray:
    """Where the object is, grown by `margin` pixels: bool (H, W). Its complement is the background to be preserved."""
    grown = mask(picture, OBJECTS[object_])
    for _ in range(margin):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        wider[:, 1:] |= grown[:, :-1]
        wider[:, :-1] |= grown[:, 1:]
        grown = wider
    return grown
