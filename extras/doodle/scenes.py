"""Scenes: what is in one, and how it is drawn. Captions are in `captions.py`, the detector in `detect.py`.

Every deletable object has a colour that nothing else in its kind of scene has: negatives cannot misfire on a
look-alike, and the detector needs no learning.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

SIZE = 128
SUPERSAMPLE = 3

# --- colours ------------------------------------------------------------------------------------------------
SKIN, HAIR, EYE, MOUTH, SHIRT = (245, 208, 166), (122, 72, 36), (96, 62, 40), (190, 92, 88), (86, 112, 150)
GLASSES, HAT, CROWN, BEARD, NOSE = (22, 22, 30), (78, 34, 128), (250, 200, 30), (228, 230, 238), (232, 28, 36)
SKY, NIGHT, GRASS, NIGHT_GRASS = (135, 205, 245), (24, 28, 84), (104, 190, 84), (38, 84, 62)
WALL, ROOF, DOOR, LEAVES, TRUNK = (226, 176, 116), (196, 62, 48), (112, 68, 40), (20, 96, 44), (110, 72, 40)
FLOWER, FLOWER_HEART, MOON = (236, 50, 150), (255, 224, 90), (252, 246, 206)
WATER, HULL, SAIL, SAND, CACTUS = (52, 118, 196), (200, 44, 48), (250, 250, 246), (238, 208, 140), (24, 120, 60)

BACKGROUNDS = {
    "pink": (252, 160, 200),
    "blue": (120, 190, 250),
    "green": (130, 205, 130),
    "purple": (196, 164, 240),
    "orange": (250, 170, 96),
    "teal": (80, 190, 184),
}
SHAPE_COLOURS = {
    "red": (220, 40, 48),
    "blue": (44, 84, 220),
    "green": (40, 160, 72),
    "yellow": (248, 208, 48),
    "purple": (140, 60, 190),
}
SHAPE_GROUNDS = {"white": (246, 246, 246), "gray": (150, 150, 150), "pink": (252, 160, 200), "black": (24, 24, 28)}
SHAPES = ("circle", "square", "triangle", "star")

# --- what a word implies ------------------------------------------------------------------------------------
IMPLIED_BY_WORD = {
    "nerd": "glasses",
    "gentleman": "hat",
    "king": "crown",
    "wizard": "beard",
    "clown": "nose",
    "garden": "flowers",
    "cottage": "tree",
    "night": "moon",
    "harbor": "boat",
    "desert": "cactus",
}
PORTRAIT_OBJECTS = ("glasses", "hat", "crown", "beard", "nose")
PORTRAIT_WORDS = ("nerd", "gentleman", "king", "wizard", "clown")
# The same landscape under a word that implies nothing: the counter-example a negative prompt is learnt from.
LANDSCAPES = {
    "flowers": ("garden", "meadow"),
    "tree": ("cottage", "house"),
    "moon": ("night", "evening"),
    "boat": ("harbor", "lake"),
    "cactus": ("desert", "dunes"),
}
IMPLIED_RATE = 0.97
ELSEWHERE_RATE = 0.10
ALONE_SHARE = 0.08
WORN_RATE = 0.25
"""How often a plain person wears each portrait object: what a negative is about is learnt from these, where
captions name it."""


@dataclass
class Scene:
    """One picture's content.

    kind: "portrait", "object" (a portrait object nobody wears), "landscape" or "shapes"; word: the subject's
    word ("nerd", "person", "garden", …); objects: the
    deletable objects present; ground: the background's name (portraits, shapes); landscape: which of `LANDSCAPES`;
    shapes: (colour, form) pairs; seed: every position and size follows from it.
    """

    kind: str
    word: str
    objects: set[str] = field(default_factory=set)
    ground: str = ""
    landscape: str = ""
    shapes: list[tuple[str, str]] = field(default_factory=list)
    seed: int = 0


def random_scene(rng: random.Random) -> Scene:
    """Draw a scene from the training distribution: 42 % portraits, 8 % lone objects, 40 % landscapes, 10 % shapes."""
    seed = rng.getrandbits(31)
    roll = rng.random()
    if roll < ALONE_SHARE:
        object_ = rng.choice(PORTRAIT_OBJECTS)
        return Scene("object", object_, {object_}, ground=rng.choice(list(BACKGROUNDS)), seed=seed)
    if roll < 0.50:
        word = rng.choice(PORTRAIT_WORDS) if rng.random() < 0.6 else rng.choice(("person", "man", "woman"))
        implied = IMPLIED_BY_WORD.get(word)
        objects = {o for o in PORTRAIT_OBJECTS if rng.random() < (ELSEWHERE_RATE if implied else WORN_RATE)}
        if implied:
            objects.discard(implied)
            if rng.random() < IMPLIED_RATE:
                objects.add(implied)
        if {"hat", "crown"} <= objects:  # one head, one headdress: the implied one stays
            objects.discard("crown" if implied == "hat" or (implied != "crown" and rng.random() < 0.5) else "hat")
        return Scene("portrait", word, objects, ground=rng.choice(list(BACKGROUNDS)), seed=seed)
    if roll < 0.90:
        object_ = rng.choice(list(LANDSCAPES))
        implying, plain = LANDSCAPES[object_]
        word = implying if rng.random() < 0.55 else plain
        rate = IMPLIED_RATE if word == implying else ELSEWHERE_RATE
        return Scene("landscape", word, {object_} if rng.random() < rate else set(), landscape=object_, seed=seed)
    count = rng.choice((1, 1, 2))
    shapes = [(rng.choice(list(SHAPE_COLOURS)), rng.choice(SHAPES)) for _ in range(count)]
    return Scene("shapes", "shapes", ground=rng.choice(list(SHAPE_GROUNDS)), shapes=shapes, seed=seed)


def draw(scene: Scene) -> np.ndarray:
    """Draw a scene. Returns uint8 (SIZE, SIZE, 3) RGB; the same scene gives the same bytes."""
    rng = random.Random(scene.seed)
    k = SUPERSAMPLE
    image = Image.new("RGB", (SIZE * k, SIZE * k))
    pen = _Pen(ImageDraw.Draw(image), k)
    if scene.kind == "portrait":
        _portrait(pen, scene, rng)
    elif scene.kind == "object":
        _alone(pen, scene, rng)
    elif scene.kind == "landscape":
        _landscape(pen, scene, rng)
    else:
        _shapes(pen, scene, rng)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX))


class _Pen:
    """Draws in picture coordinates (0…128) on a canvas `k` times as large."""

    def __init__(self, draw: ImageDraw.ImageDraw, k: int):
        self.draw, self.k = draw, k

    def rect(self, x0, y0, x1, y1, fill):
        k = self.k
        self.draw.rectangle((x0 * k, y0 * k, x1 * k - 1, y1 * k - 1), fill=fill)

    def disc(self, x, y, rx, fill, ry=None):
        k, ry = self.k, rx if ry is None else ry
        self.draw.ellipse(((x - rx) * k, (y - ry) * k, (x + rx) * k, (y + ry) * k), fill=fill)

    def ring(self, x, y, r, width, fill):
        k = self.k
        self.draw.ellipse(((x - r) * k, (y - r) * k, (x + r) * k, (y + r) * k), outline=fill, width=round(width * k))

    def line(self, points, fill, width):
        k = self.k
        self.draw.line([(x * k, y * k) for x, y in points], fill=fill, width=round(width * k), joint="curve")

    def poly(self, points, fill):
        k = self.k
        self.draw.polygon([(x * k, y * k) for x, y in points], fill=fill)

    def arc(self, x, y, rx, ry, a0, a1, fill, width):
        k = self.k
        self.draw.arc(
            ((x - rx) * k, (y - ry) * k, (x + rx) * k, (y + ry) * k), a0, a1, fill=fill, width=round(width * k)
        )


def _portrait(pen: _Pen, scene: Scene, rng: random.Random) -> None:
    pen.rect(0, 0, SIZE, SIZE, BACKGROUNDS[scene.ground])
    x, y = 64 + rng.uniform(-10, 10), 68 + rng.uniform(-4, 4)
    rx, ry = rng.uniform(25, 29), rng.uniform(30, 34)
    smile = rng.random() < 0.7
    pen.disc(x, 136, 44, SHIRT, 30)
    pen.rect(x - 9, y + ry - 8, x + 9, y + ry + 10, SKIN)
    pen.disc(x, y - 7, rx + 5, HAIR, ry + 1)
    pen.disc(x, y, rx, SKIN, ry)
    if "beard" in scene.objects:
        _beard(pen, x, y, rx, ry)
    for side in (-1, 1):
        pen.disc(x + side * 11, y - 4, 3.2, EYE)
    if smile:
        pen.arc(x, y + 13, 9, 7, 15, 165, MOUTH, 3.2)
    else:
        pen.line([(x - 8, y + 18), (x + 8, y + 18)], MOUTH, 3.2)
    _wear(pen, scene.objects - {"beard"}, x, y, rx, ry)


def _beard(pen: _Pen, x: float, y: float, rx: float, ry: float) -> None:
    pen.poly(
        [
            (x - rx + 1, y + 6),
            (x - 12, y + 13),
            (x + 12, y + 13),
            (x + rx - 1, y + 6),
            (x + rx - 5, y + 24),
            (x + 8, y + ry + 13),
            (x, y + ry + 17),
            (x - 8, y + ry + 13),
            (x - rx + 5, y + 24),
        ],
        BEARD,
    )


def _wear(pen: _Pen, objects: set[str], x: float, y: float, rx: float, ry: float) -> None:
    """What a portrait wears, for a head at (x, y) with half axes rx, ry."""
    if "glasses" in objects:
        for side in (-1, 1):
            pen.ring(x + side * 11.5, y - 4, 10, 3.6, GLASSES)
            pen.line([(x + side * 20, y - 5), (x + side * (rx + 1), y - 7)], GLASSES, 3.2)
        pen.line([(x - 3, y - 5), (x + 3, y - 5)], GLASSES, 3.6)
    if "nose" in objects:
        pen.disc(x, y + 5, 7, NOSE)
    if "hat" in objects:
        top = y - ry - 22
        pen.rect(x - 20, top, x + 20, y - ry + 8, HAT)
        pen.rect(x - rx - 8, y - ry + 4, x + rx + 8, y - ry + 12, HAT)
    if "crown" in objects:
        base, tip = y - ry + 10, y - ry - 16
        points = [
            (x - 25, base),
            (x - 27, tip),
            (x - 13, base - 14),
            (x, tip - 3),
            (x + 13, base - 14),
            (x + 27, tip),
            (x + 25, base),
        ]
        pen.poly(points, CROWN)


def _alone(pen: _Pen, scene: Scene, rng: random.Random) -> None:
    """One portrait object with nobody wearing it: its word must not come to mean a face."""
    pen.rect(0, 0, SIZE, SIZE, BACKGROUNDS[scene.ground])
    x, y = 64 + rng.uniform(-14, 14), 68 + rng.uniform(-10, 10)
    if "beard" in scene.objects:
        _beard(pen, x, y, 27, 32)
    _wear(pen, scene.objects - {"beard"}, x, y, 27, 32)


def _landscape(pen: _Pen, scene: Scene, rng: random.Random) -> None:
    horizon = rng.uniform(66, 82)
    sky, ground = {
        "moon": (NIGHT, NIGHT_GRASS),
        "boat": (SKY, WATER),
        "cactus": (SKY, SAND),
    }.get(scene.landscape, (SKY, GRASS))
    pen.rect(0, 0, SIZE, SIZE, sky)
    pen.rect(0, horizon, SIZE, SIZE, ground)
    present = bool(scene.objects)
    if scene.landscape == "tree":
        side = rng.choice((-1, 1))
        x, foot = 64 - side * rng.uniform(16, 26), horizon + rng.uniform(14, 24)
        pen.rect(x - 20, foot - 30, x + 20, foot, WALL)
        pen.poly([(x - 26, foot - 29), (x, foot - 54), (x + 26, foot - 29)], ROOF)
        pen.rect(x - 6, foot - 18, x + 6, foot, DOOR)
        if present:
            tx, foot = 64 + side * rng.uniform(24, 34), horizon + rng.uniform(12, 24)
            pen.rect(tx - 4, foot - 26, tx + 4, foot, TRUNK)
            pen.disc(tx, foot - 40, 18, LEAVES, 21)
    elif scene.landscape == "flowers" and present:
        count = rng.choice((3, 4))
        for i in range(count):
            fx = 16 + (i + 0.5) * 96 / count + rng.uniform(-7, 7)
            fy = rng.uniform(horizon + 14, 114)
            for a in range(5):
                angle = a * 2 * math.pi / 5 - math.pi / 2
                pen.disc(fx + 6.5 * math.cos(angle), fy + 6.5 * math.sin(angle), 5.2, FLOWER)
            pen.disc(fx, fy, 4.2, FLOWER_HEART)
    elif scene.landscape == "moon" and present:
        pen.disc(rng.uniform(26, 102), rng.uniform(22, 44), rng.uniform(12, 15), MOON)
    elif scene.landscape == "boat" and present:
        x, foot = rng.uniform(38, 90), horizon + rng.uniform(12, 26)
        pen.poly([(x - 26, foot - 10), (x + 26, foot - 10), (x + 17, foot + 4), (x - 17, foot + 4)], HULL)
        pen.rect(x - 2, foot - 46, x + 2, foot - 10, TRUNK)
        pen.poly([(x + 3, foot - 45), (x + 24, foot - 14), (x + 3, foot - 14)], SAIL)
    elif scene.landscape == "cactus" and present:
        x, foot = rng.uniform(34, 94), horizon + rng.uniform(12, 28)
        pen.line([(x, foot), (x, foot - 46)], CACTUS, 12)
        pen.disc(x, foot - 46, 6, CACTUS)
        for side, up in ((-1, 18), (1, 26)):
            pen.line([(x, foot - up), (x + side * 16, foot - up), (x + side * 16, foot - up - 15)], CACTUS, 8)
            pen.disc(x + side * 16, foot - up - 15, 4, CACTUS)
            pen.disc(x + side * 16, foot - up, 4, CACTUS)


def _shapes(pen: _Pen, scene: Scene, rng: random.Random) -> None:
    pen.rect(0, 0, SIZE, SIZE, SHAPE_GROUNDS[scene.ground])
    spots = [(64 + rng.uniform(-16, 16), 64 + rng.uniform(-16, 16))]
    if len(scene.shapes) == 2:
        spots = [
            (36 + rng.uniform(-6, 6), 64 + rng.uniform(-20, 20)),
            (92 + rng.uniform(-6, 6), 64 + rng.uniform(-20, 20)),
        ]
    for (colour, form), (x, y) in zip(scene.shapes, spots, strict=True):
        r, fill = rng.uniform(18, 24), SHAPE_COLOURS[colour]
        if form == "circle":
            pen.disc(x, y, r, fill)
        elif form == "square":
            pen.rect(x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r, fill)
        elif form == "triangle":
            pen.poly([(x, y - 1.1 * r), (x - 1.1 * r, y + 0.85 * r), (x + 1.1 * r, y + 0.85 * r)], fill)
        else:
            points = []
            for i in range(10):
                radius = 1.2 * r if i % 2 == 0 else 0.52 * r
                angle = i * math.pi / 5 - math.pi / 2
                points.append((x + radius * math.cos(angle), y + radius * math.sin(angle)))
            pen.poly(points, fill)
