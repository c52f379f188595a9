"""Every picture of a batch is the one it would be alone; conditional rows only, however the host cuts its calls."""

import pytest
from host_client import GLASSES

capability = pytest.mark.capability
LONG = "red glasses, " * 40
NEAR = 2  # of 255: a matrix product of another size rounds differently


@capability("batches: each picture as if alone")
@pytest.mark.parametrize("fields", [{"batch_size": 2}, {"n_iter": 2}, {"batch_size": 2, "n_iter": 2}])
@pytest.mark.parametrize("cfg", [1, 7])
def test_batches(host, fields, cfg):
    count = fields.get("batch_size", 1) * fields.get("n_iter", 1)
    batch = host.draw(GLASSES, cfg_scale=cfg, **fields)
    assert len(batch.pngs) == count
    for i in range(count):
        alone = host.draw(GLASSES, cfg_scale=cfg, seed=7 + i)
        assert abs(batch.pixels[i] - alone.pixels[0]).max() <= NEAR, f"picture {i + 1}"


@capability("one negative per picture")
def test_a_negative_for_each(host):
    negatives = ["glasses", LONG, "hat"]
    batch = host.draw({"negative": negatives, "scale": 6}, batch_size=3)
    for i, negative in enumerate(negatives):
        alone = host.draw({"negative": negative, "scale": 6}, seed=7 + i)
        assert abs(batch.pixels[i] - alone.pixels[0]).max() <= NEAR, negative
    assert "NAG negative: glasses," in batch.texts[0] and "NAG negative: hat," in batch.texts[2]
    wrong = host.draw({"negative": negatives}, batch_size=2)
    assert wrong.same(host.draw(batch_size=2)) and "2 texts, one per image" in wrong.error


@capability("AND, prompts of unequal length")
@pytest.mark.parametrize("prompt", ["a nerd AND a pink background :0.5", "a nerd AND " + LONG, LONG])
@pytest.mark.parametrize("cfg", [1, 7])
def test_and(host, prompt, cfg):
    fields = {"prompt": prompt, "cfg_scale": cfg, "steps": 2}
    plain, guided = host.pair(batch_size=2, **fields)
    assert guided.distance(plain) > 2 and guided.report["guided_steps"] == [1, 2]
    for i in range(2):
        alone = host.draw(GLASSES, **fields, seed=7 + i)
        assert abs(guided.pixels[i] - alone.pixels[0]).max() <= NEAR


@capability("AND, prompts of unequal length")
@pytest.mark.parametrize("where", ["prompt", "negative_prompt", "nag"])
def test_more_than_75_tokens(host, where):
    nag = {"negative": LONG if where == "nag" else "glasses", "scale": 6}
    fields = {"cfg_scale": 7} | ({} if where == "nag" else {where: LONG})
    plain, guided = host.pair(nag, **fields)
    assert guided.distance(plain) > 2 and guided.report["calls"] == 4 * guided.report["layers"]


SETTINGS = {  # where the host has them
    "batch_cond_uncond": False,
    "pad_cond_uncond": True,
    "pad_cond_uncond_v0": True,
    "skip_early_cond": 0.5,
    "s_min_uncond_all": True,
}


@capability("settings that change how the host calls its model")
def test_settings_of_calls(host, note):
    here = {name: value for name, value in SETTINGS.items() if name in host.options}
    before = host.api("options")
    for name, value in here.items():
        host.api("options", {name: value})
        try:
            fields = {"prompt": "a nerd AND " + LONG, "cfg_scale": 7, "s_min_uncond": 10 if "min_uncond" in name else 0}
            batch, plain = host.draw(GLASSES, batch_size=2, **fields), host.draw(batch_size=2, **fields)
            assert batch.distance(plain) > 2 and batch.report["guided_steps"] == [1, 2, 3, 4], name
            for i in range(2):
                alone = host.draw(GLASSES, **fields, seed=7 + i)
                assert abs(batch.pixels[i] - alone.pixels[0]).max() <= NEAR, name
        finally:
            host.api("options", {name: before[name]})
        assert host.restored(), name
    note(", ".join(here))


@capability("two requests at once")
def test_two_requests_at_once(host):
    from concurrent.futures import ThreadPoolExecutor

    jobs = [(None, {}), (GLASSES, {}), (None, {"cfg_scale": 7}), ({"negative": "hat", "scale": 5}, {"seed": 9})]
    alone = [host.draw(nag, **fields) for nag, fields in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: host.draw(job[0], **job[1]), jobs))
    assert all(one.same(other) for one, other in zip(alone, together, strict=True))
    assert together[1].report["calls"] and not together[0].params.get("NAG report")
