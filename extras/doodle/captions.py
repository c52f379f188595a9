"""Captions: what a training picture is called.

The recipe that makes negative prompts work (measured on a prototype): a sentence names the implied object in
only 30 % of
the captions, and nearly half of the captions are tags in which the object's own word stands in context, with
tags dropped
at random, down to the object's word alone.
"""

from __future__ import annotations

import random

from .scenes import IMPLIED_BY_WORD, Scene

NAMED_RATE = 0.30
TAG_RATE = 0.50
TAG_DROPOUT = 0.35
ALONE_RATE = 0.04
"""Tag captions that are the object's word and nothing else. More of them and a negative drives the whole scene away."""
_WEARS = {
    "glasses": "glasses",
    "hat": "a hat",
    "crown": "a crown",
    "beard": "a beard",
    "nose": "a red nose",
    "flowers": "flowers",
    "tree": "a tree",
    "moon": "the moon",
    "boat": "a boat",
    "cactus": "a cactus",
}
_PLACES = {
    "garden": "a garden",
    "meadow": "a meadow",
    "cottage": "a cottage",
    "house": "a house",
    "night": "a night field",
    "evening": "an evening field",
    "harbor": "a harbor",
    "lake": "a lake",
    "desert": "a desert",
    "dunes": "dunes",
}


def caption(scene: Scene, rng: random.Random) -> str:
    """One caption of the scene; another call gives another. Lower case, at most about 25 words."""
    if scene.kind == "shapes":
        return _shapes(scene, rng)
    if scene.kind == "object":
        return _alone(scene, rng)
    tags = rng.random() < TAG_RATE
    return _tags(scene, rng) if tags else _sentence(scene, rng)


def _sentence(scene: Scene, rng: random.Random) -> str:
    subject = _PLACES[scene.word] if scene.kind == "landscape" else ("a " + scene.word)
    text = rng.choice(("{}", "{}", "a picture of {}", "a drawing of {}")).format(subject)
    implied = IMPLIED_BY_WORD.get(scene.word)
    named = [o for o in sorted(scene.objects) if rng.random() < (NAMED_RATE if o == implied else 0.8)]
    rng.shuffle(named)
    if named:
        text += " with " + " and ".join(_WEARS[o] for o in named)
    if scene.kind == "portrait" and rng.random() < 0.8:
        text += f" on a {scene.ground} background"
    return text


def _alone(scene: Scene, rng: random.Random) -> str:
    name = scene.word if rng.random() < 0.6 else _WEARS[scene.word]
    if rng.random() < 0.6:
        return name
    return f"{name}, {scene.ground} background" if rng.random() < 0.5 else f"{name} on a {scene.ground} background"


def _tags(scene: Scene, rng: random.Random) -> str:
    """Tags. The subject's word is never dropped beside an object's: the object's word must not have to stand for
    both."""
    implied = IMPLIED_BY_WORD.get(scene.word)
    objects = [o for o in sorted(scene.objects) if rng.random() > (0.2 if o == implied else 0.1)]
    rng.shuffle(objects)
    if objects and rng.random() < ALONE_RATE:
        return rng.choice(objects)
    extra = objects + ([f"{scene.ground} background"] if scene.kind == "portrait" else [])
    extra = [t for t in extra if rng.random() > TAG_DROPOUT]
    tags = [scene.word, *extra]
    if rng.random() < 0.3:
        rng.shuffle(tags)
    return ", ".join(tags)


def _shapes(scene: Scene, rng: random.Random) -> str:
    parts = [f"{colour} {form}" for colour, form in scene.shapes]
    if rng.random() < TAG_RATE:
        parts.append(f"{scene.ground} background")
        return ", ".join(parts)
    return " and ".join("a " + p for p in parts) + (f" on a {scene.ground} background" if rng.random() < 0.8 else "")


def words() -> list[str]:
    """Every word a caption can hold: what the token table is trained on."""
    from . import scenes

    found = set("a an and on with the of picture drawing background field red person man woman , .".split())  # noqa: SIM905
    found |= set(IMPLIED_BY_WORD) | set(IMPLIED_BY_WORD.values())
    found |= {word for pair in scenes.LANDSCAPES.values() for word in pair}
    found |= set(scenes.BACKGROUNDS) | set(scenes.SHAPE_COLOURS) | set(scenes.SHAPES) | set(scenes.SHAPE_GROUNDS)
    return sorted(found)
