"""Only conditional rows, each with its own image's negative, however the host cuts its calls."""

import pytest

LONG = "glasses, " * 60  # two chunks of tokens
NEGATIVES = ["glasses", "hat", "tree"]


@pytest.mark.parametrize("prompt", ["a nerd", "a nerd AND a pink background :0.5", "a nerd AND " + LONG])
@pytest.mark.parametrize("setting", [{}, {"batch_cond_uncond": False}, {"skip_early_cond": 0.5}])
@pytest.mark.parametrize("cfg", [1, 7])
def test_a_batch_is_its_singles(draw, options, prompt, setting, cfg):
    options(**setting)
    fields = {"prompt": prompt, "cfg_scale": cfg, "steps": 2}
    batch = draw({"negative": NEGATIVES, "scale": 6}, batch_size=3, **fields)
    for i, negative in enumerate(NEGATIVES):
        single = draw({"negative": negative, "scale": 6}, **fields, seed=7 + i)
        assert abs(batch.pixels[i] - single.pixels[0]).max() <= 1, (i, negative)
    assert not batch.same(draw(batch_size=3, **fields), tolerance=1)


def test_the_same_negative_for_all_images(draw):
    batch = draw({"negative": "glasses"}, batch_size=3)
    for i in range(3):
        assert abs(batch.pixels[i] - draw({"negative": "glasses"}, seed=7 + i).pixels[0]).max() <= 1


def test_one_negative_per_image_of_the_job(draw):
    two = draw({"negative": ["glasses", "hat"], "scale": 6}, n_iter=2)
    for i, negative in enumerate(["glasses", "hat"]):
        single = draw({"negative": negative, "scale": 6}, seed=7 + i)
        assert abs(two.pixels[i] - single.pixels[0]).max() <= 1
        assert f"NAG negative: {negative}," in two.texts[i]
    wrong = draw({"negative": ["a", "b", "c"]}, n_iter=2)
    assert wrong.same(draw(n_iter=2)) and "2 texts, one per image" in wrong.comments


@pytest.mark.parametrize("where", ["prompt", "negative_prompt", "nag"])
def test_seventy_seven_and_more_tokens_mix(draw, where):
    nag = {"negative": LONG if where == "nag" else "glasses", "scale": 6}
    fields = {} if where == "nag" else {where: LONG}
    guided = draw(nag, cfg_scale=7, **fields)
    assert guided.report["calls"] == 4 * guided.report["layers"]
    assert not guided.same(draw(cfg_scale=7, **fields))


def test_a_batch_may_mix_lengths_of_negatives(draw):
    batch = draw({"negative": ["glasses", LONG], "scale": 6}, batch_size=2)
    for i, negative in enumerate(["glasses", LONG]):
        single = draw({"negative": negative, "scale": 6}, seed=7 + i)
        assert abs(batch.pixels[i] - single.pixels[0]).max() <= 1


def test_the_unconditional_half_is_untouched(draw, engine, monkeypatch):
    """Rows told to the run are the conditional ones of the call, and nothing else."""
    from extras.nag.run import Run

    seen = []
    monkeypatch.setattr(Run, "call", lambda self, rows: seen.append(list(rows)))
    draw({"negative": "glasses"}, cfg_scale=7, steps=1, batch_size=2, prompt="a nerd AND a hat")
    assert seen == [[(0, 0), (1, 0), (2, 1), (3, 1)]]
