"""What a request may say, what it is told when it is wrong, and how settings come back from a picture."""

import pytest
from host_client import GLASSES, Drawn

capability = pytest.mark.capability
CHANGED = {
    "negative": 'glasses, "red", (hat:1.2)\nand 50%', "scale": 4.5, "tau": 3.0, "alpha": 0.375, "start": 0.17,
    "end": 0.5, "unit": "steps", "ramp_steps": 2, "cooldown": 0.25, "cooldown_drop": 0.4, "layers": "all,!m0",
    "empty_negative": "skip", "hires": "both", "skip_uncond": True,
}  # fmt: skip


@capability("API: one typed object, or values by position")
def test_object_and_positions(host):
    typed = host.draw({"negative": "glasses", "scale": 4, "tau": 2, "alpha": 0.25})
    assert host.draw(args=[True, "glasses", 4, 2, 0.25]).same(typed) and typed.distance(host.plain) > 0
    assert host.draw(args=[{"negative": "glasses", "scale": 4, "tau": 2, "alpha": 0.25}, "ignored"]).same(typed)
    assert host.draw({"negative": ["glasses"], "scale": 4, "tau": 2, "alpha": 0.25}).same(typed)


@capability("API: bad input is named, the picture is the unguided one")
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"negative": "glasses", "scal": 3}, ["scal", "3", "one of the fields", "scale"]),
        ({"scale": 500}, ["scale", "500", "1 to 20"]),
        ({"scale": "high"}, ["scale", "high", "number"]),
        ({"start": 0.6, "end": 0.3}, ["end", "0.3", "above start"]),
        ({"unit": "meters"}, ["unit", "meters", "noise | steps | sigma"]),
        ({"negative": 5}, ["negative", "5", "text"]),
        ({"negative": "x" * 20_000}, ["negative", "10000"]),
        ({"ramp_steps": 1.5}, ["ramp_steps", "1.5", "whole number"]),
        ({"layers": "d99"}, ["layers", "d99", "u0"]),
        ("yes", ["enabled", "yes", "true | false"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_bad_input(host, bad, words):
    hurt = host.draw(bad)
    assert hurt.same(host.plain)
    for place in (hurt.error, hurt.texts[0]):
        assert all(word in place for word in words), place
    assert "guided steps" not in hurt.texts[0]


def by_infotext(host, text) -> Drawn:
    """The picture of a request that says nothing but an infotext."""
    request = {"infotext": text, "do_not_save_samples": True, "do_not_save_grid": True}
    if host.name == "Forge":  # its API cannot fill in a list from an infotext
        request["styles"] = []
    return Drawn(host.api("txt2img", request))


@capability("infotext: PNG Info reads it, a request with it repeats the picture")
@pytest.mark.parametrize("given", [GLASSES, CHANGED], ids=["two options", "every option"])
def test_round_trip(host, given):
    fields = {"negative_prompt": "tree", "cfg_scale": 7}
    first = host.draw(given, **fields)
    read = host.api("png-info", {"image": "data:image/png;base64," + first.pngs[0]})
    assert read["info"] == first.texts[0]
    assert read["parameters"]["NAG negative"] == given["negative"] and read["parameters"]["NAG enabled"] == "True"
    again = by_infotext(host, read["info"])
    assert again.same(first), (first.texts[0], again.texts[0])
    assert again.report["guided_steps"] == first.report["guided_steps"]


@capability("infotext: PNG Info reads it, a request with it repeats the picture")
def test_without_nag_it_stays_off(host):
    again = by_infotext(host, host.plain.texts[0])
    assert again.same(host.plain) and "NAG" not in again.texts[0]


@capability("infotext: only what differs from the default")
def test_only_what_differs(host):
    line = host.draw({"negative": "hat"}).texts[0].split("\n")[-1]
    keys = [part.split(":")[0].strip() for part in line.split(",")]
    assert [k for k in keys if k.startswith("NAG")] == ["NAG enabled", "NAG negative", "NAG guided steps"]


@capability("X/Y/Z script")
def test_xyz(host):
    """Each cell of a grid over seeds is the guided picture of that seed."""
    name = next((n for n in host.scripts["txt2img"] if n.startswith("x/y/z plot")), None)
    if name is None:
        pytest.skip("this host has no X/Y/Z script")
    labels, values = host.script_values(name)
    wanted = {
        "X type": host.script_choices(name, "X type").index("Seed"),
        "X values": "7, 8",
        "Y type": 0,
        "Z type": 0,
        "Draw legend": False,
        "Include Sub Images": True,
        "Include Sub Grids": False,
    }
    args = [wanted.get(label, value) for label, value in zip(labels, values, strict=True)]
    grid = host.answer(GLASSES, script_name=name, script_args=args)
    cells = Drawn({**grid, "images": grid["images"][1:]})
    assert len(cells.pngs) == 2
    for pixels, seed in zip(cells.pixels, (7, 8), strict=True):
        assert abs(pixels - host.draw(GLASSES, seed=seed).pixels[0]).max() <= 2, f"seed {seed}"
    assert host.restored()
