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
    monkeypatch.setattr(Run, "call", lambda self, rows, total: seen.append(list(rows)))
    draw({"negative": "glasses"}, cfg_scale=7, steps=1, batch_size=2, prompt="a nerd AND a hat")
    assert seen == [[(0, 0), (1, 0), (2, 1), (3, 1)]]


@pytest.fixture
def tiled(monkeypatch):
    """The denoiser of every picture asks for one half of it after the other, tile-major, as tiled diffusion does."""
    import torch

    from extras.studio.denoisers import DiscreteDenoiser

    original = DiscreteDenoiser.forward

    def forward(self, x, sigma, cond):
        n, tiles = len(x), x.chunk(2, dim=3)
        twice = {key: [torch.cat([part, part]) for part in parts] for key, parts in cond.items()}
        return torch.cat(original(self, torch.cat(tiles), torch.cat([sigma, sigma]), cond=twice).split(n), dim=3)

    monkeypatch.setattr(DiscreteDenoiser, "forward", forward)


def test_every_tile_is_guided(draw, monkeypatch, tiled):
    from extras.nag.run import Run

    seen = []
    monkeypatch.setattr(Run, "call", lambda self, rows, total: seen.append((list(rows), total)))
    draw({"negative": "glasses"}, cfg_scale=7, steps=1, batch_size=2)
    assert seen == [([(0, 0), (1, 1), (4, 0), (5, 1)], 8)]


def test_tiles_are_guided_like_pictures(draw, tiled):
    batch = draw({"negative": ["glasses", "hat"], "scale": 6}, batch_size=2, cfg_scale=7)
    for i, negative in enumerate(["glasses", "hat"]):
        single = draw({"negative": negative, "scale": 6}, seed=7 + i, cfg_scale=7)
        assert abs(batch.pixels[i] - single.pixels[0]).max() <= 1


def test_a_layer_that_cuts_the_batch_is_told_and_left_alone(draw, engine, monkeypatch):
    """Extensions work through conditional and other rows apart in attn2: whose they are cannot be known in there."""
    import torch

    plain = draw(cfg_scale=7)
    layer = next(m for name, m in engine.model.model.named_modules() if name.endswith("attn2"))
    original = layer.forward

    def halves(x, encoder_hidden_states=None, **rest):
        pairs = zip(x.chunk(2), encoder_hidden_states.chunk(2), strict=True)
        return torch.cat([original(part, encoder_hidden_states=text, **rest) for part, text in pairs])

    monkeypatch.setattr(layer, "forward", halves)
    report = draw({"negative": "glasses"}, cfg_scale=7).report
    assert report["calls"] == 4 * (report["layers"] - 1)
    assert any("1 layers could not be guided" in warning for warning in report["warnings"])
    assert any("(test_front_rows) changes the attention of 1 layers" in warning for warning in report["warnings"])
    assert draw(cfg_scale=7).same(plain, tolerance=1)


def test_a_patch_that_was_undone_is_no_clash(draw, engine, monkeypatch):
    """IP-Adapter's undoing leaves the layer's own method on the layer itself."""
    layer = next(m for name, m in engine.model.model.named_modules() if name.endswith("attn2"))
    monkeypatch.setattr(layer, "forward", layer.forward)
    assert not draw({"negative": "glasses"}).report["warnings"]
