"""What is measured on: prompts with an object to delete."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """A prompt whose word implies an object that it does not name, and that object."""

    prompt: str
    word: str
    object: str


PAIRS = (
    Pair("a nerd on a pink background", "nerd", "glasses"),
    Pair("a gentleman on a blue background", "gentleman", "hat"),
    Pair("a king on a teal background", "king", "crown"),
    Pair("a wizard on a green background", "wizard", "beard"),
    Pair("a clown on a purple background", "clown", "nose"),
    Pair("a garden", "garden", "flowers"),
    Pair("a cottage", "cottage", "tree"),
    Pair("a night field", "night", "moon"),
    Pair("a harbor", "harbor", "boat"),
    Pair("a desert", "desert", "cactus"),
)
