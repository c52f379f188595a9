"""Scenes are reproducible, captions follow the recipe, the detector agrees with what was drawn."""

import random

import numpy as np
import pytest

from extras.doodle import captions, detect, scenes


def many(count, seed=11):
    rng = random.Random(seed)
    return [scenes.random_scene(rng) for _ in range(count)]


def test_same_scene_same_bytes():
    for scene in many(20):
        assert np.array_equal(scenes.draw(scene), scenes.draw(scene))


def test_a_word_implies_its_object_and_the_plain_word_does_not():
    drawn = many(6000)
    for word, object_ in scenes.IMPLIED_BY_WORD.items():
        with_word = [object_ in s.objects for s in drawn if s.word == word]
        assert len(with_word) > 60
        assert np.mean(with_word) > 0.9
    plain = [bool(s.objects) for s in drawn if s.kind == "landscape" and s.word not in scenes.IMPLIED_BY_WORD]
    assert 0.03 < np.mean(plain) < 0.2


def test_captions_rarely_name_the_implied_object_in_sentences():
    rng = random.Random(3)
    named = []
    for scene in many(4000):
        implied = scenes.IMPLIED_BY_WORD.get(scene.word)
        if implied in scene.objects:
            text = captions._sentence(scene, rng)
            named.append(implied in text.split(" with ", 1)[-1] and " with " in text)
    assert 0.22 < np.mean(named) < 0.38


def test_every_caption_word_is_in_the_trained_vocabulary():
    rng = random.Random(4)
    known = set(captions.words())
    for scene in many(3000):
        text = captions.caption(scene, rng)
        assert text
        assert set(text.replace(",", " ").split()) <= known, text


def test_detector_reads_drawn_scenes():
    wrong = total = 0
    for scene in many(1500):
        if scene.kind == "shapes":
            continue
        picture = scenes.draw(scene)
        possible = scenes.PORTRAIT_OBJECTS if scene.kind in ("portrait", "object") else (scene.landscape,)
        for object_ in possible:
            total += 1
            wrong += detect.has(picture, object_) != (object_ in scene.objects)
        if scene.kind == "object":
            assert not detect.subject_kept(picture, "person"), scene
        else:
            assert detect.subject_kept(picture, scene.word), scene
    assert wrong / total < 0.005, f"{wrong} of {total}"


def test_detector_sees_no_subject_in_noise_and_blank():
    rng = np.random.default_rng(0)
    for picture in (rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), np.full((128, 128, 3), 127, np.uint8)):
        for word in detect.SUBJECTS:
            assert not detect.subject_kept(picture, word)


def test_region_covers_the_object_and_leaves_the_rest():
    scene = scenes.Scene("portrait", "nerd", {"glasses"}, ground="pink", seed=5)
    bare = scenes.Scene("portrait", "nerd", set(), ground="pink", seed=5)
    changed = (scenes.draw(scene) != scenes.draw(bare)).any(-1)
    region = detect.region(scenes.draw(scene), "glasses")
    assert changed.any()
    assert region[changed].mean() > 0.99
    assert region.mean() < 0.3


def test_unknown_names_are_refused_with_the_known_ones():
    picture = np.zeros((128, 128, 3), np.uint8)
    with pytest.raises(KeyError, match="glasses"):
        detect.has(picture, "monocle")
    with pytest.raises(KeyError, match="garden"):
        detect.subject_kept(picture, "astronaut")
