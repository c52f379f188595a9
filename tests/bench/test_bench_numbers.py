"""Ratios, floors, memory, targets: arithmetic that can be checked by hand."""

import random

import pytest
import torch

from extras.bench import arms, floor, memory, shapes
from extras.bench.arms import BASE, NAG
from extras.bench.meter import Meter
from extras.bench.targets import targets
from extras.bench.timing import Spread, Times, share, take_turns


class Clocked(arms.Arm):
    """Writes down when it is asked."""

    def __init__(self, name, subject, log):
        super().__init__(name, subject)
        self.log = log

    def ready(self):
        self.log.append((self.name, "ready"))

    def step(self):
        self.log.append((self.name, "step"))
        return self.subject.negative

    def rest(self):
        self.log.append((self.name, "rest"))


def test_ratios_are_paired_by_round():
    times = Times({BASE: {0: 1.0, 1: 2.0, 2: 4.0}, NAG: {0: 1.1, 1: 2.2, 2: 4.4}, "seldom": {2: 8.0}})
    assert times.ratios(NAG) == pytest.approx([1.1] * 3) and times.ratios("seldom") == [2.0]
    assert times.spread(NAG).median == pytest.approx(1.1) and times.spread(NAG).n == 3


def test_the_spread_holds_the_median_and_narrows():
    draw = random.Random(3)
    few, many = (Spread.of([draw.gauss(1, 0.1) for _ in range(n)]) for n in (9, 400))
    for spread in (few, many):
        assert spread.low <= spread.median <= spread.high
        assert spread.low_quartile <= spread.median <= spread.high_quartile
    assert many.high - many.low < few.high - few.low
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0, 2.0, 2.0, 1)


def test_a_share_is_of_medians_and_its_interval_of_the_rounds():
    ours, plain = [1.02, 1.03, 1.025], [1.1, 1.12, 1.11]
    found = share(ours, plain)
    assert found["median"] == pytest.approx(0.025 / 0.11)
    assert found["low"] == pytest.approx(0.2) and found["high"] == pytest.approx(0.25)
    draw = random.Random(1)
    noisy = [1.02 + draw.gauss(0, 0.005) for _ in range(40)]
    wide = share(noisy[:4], plain=[1.1] * 4)
    narrow = share(noisy, plain=[1.1] * 40)
    assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"] > 0
    assert share([1.01], [0.99]) is None, "of nothing there is no share"
    assert share([1.01, 1.02, 1.01], [0.99, 1.1, 1.1]) is None, "nor of what may be nothing"


def test_turns_are_rotated_and_every_step_is_cleaned_up(subject):
    log = []
    every = {name: Clocked(name, subject(), log) for name in "abc"}
    times = take_turns(every, 7)
    assert all(len(times.busy[name]) == len(times.wall[name]) == 7 for name in "abc")
    steps = [name for name, what in log if what == "step"]
    rounds = ["".join(steps[i : i + 3]) for i in range(0, len(steps), 3)]
    assert len(rounds) == 7 and all(sorted(r) == list("abc") for r in rounds)
    assert {r[0] for r in rounds} == set("abc") and len(set(rounds)) > 3
    assert [what for _, what in log] == ["ready", "step", "rest"] * 21


def test_time_that_is_over_leaves_three_rounds(subject):
    assert len(take_turns({"a": Clocked("a", subject(), [])}, 50, until=0.0).busy["a"]) == 3


def test_what_is_slow_is_taken_in_every_third_round(subject):
    every = {name: Clocked(name, subject(), []) for name in "ab"}
    times = take_turns(every, 7, seldom="b")
    assert list(times.busy["a"]) == list(range(7)) and list(times.busy["b"]) == [0, 3, 6]


def test_by_layers_is_steady_where_the_rest_is_disturbed():
    """A second round at half the speed: the layers' share still tells 10 %."""
    layers = {BASE: {0: 2.0, 1: 4.0}, NAG: {0: 3.0, 1: 3.0}}
    kinds = {name: {n: {"cross": spent, "self": 0.5} for n, spent in of.items()} for name, of in layers.items()}
    times = Times({BASE: {0: 10.0, 1: 20.0}, NAG: {0: 11.0, 1: 11.0}}, {}, kinds)
    assert times.by_layers(NAG, "cross") == pytest.approx([1.1, 1.1])


def test_the_meter_sees_the_layers_and_leaves(subject):
    of = subject(resolution=128)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in of.model.modules())
    meter = Meter(of.model)
    every = {BASE: arms.Arm(BASE, of), NAG: arms.nag(of)}
    times = take_turns(every, 5, meter=meter)
    meter.close()
    for name in every:
        for n in range(5):
            spent = times.layers[name][n]
            assert set(spent) == {"cross", "self"} and 0 < sum(spent.values()) < times.busy[name][n]
    assert sorted(times.by_layers(NAG, "cross"))[2] > 1.02  # on so small a model guidance is dear
    assert sorted(times.by_layers(NAG, "self"))[2] < sorted(times.by_layers(NAG, "cross"))[2]
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in of.model.modules())


def test_the_floor_is_the_hand_count(subject):
    of = subject(resolution=128, tokens=50)
    found = floor.floor(of.shape, 128, tokens=50)
    run = arms.nag(of)
    layers = run.guidance.runs[0].layers
    seen = {}
    handles = [
        layer.attn.to_q.register_forward_hook(lambda m, a, out, i=layer.index: seen.update({i: out.shape[1]}))
        for layer in layers
    ]
    of.forward()
    for handle in handles:
        handle.remove()
    assert found.guided - found.base == sum(4 * seen[layer.index] * 50 * layer.width for layer in layers)
    assert found.once == sum(4 * 50 * of.shape.text * layer.width for layer in layers)


def test_the_real_sizes():
    """As published: 860 million parameters, 2.6 and 12 billion."""
    assert shapes.SHAPES["sd15"].parameters() == 859_520_964
    assert shapes.SHAPES["sdxl"].parameters() == 2_567_463_684
    assert 11.8e9 < shapes.SHAPES["flux"].parameters() < 12.0e9


def test_memory_is_the_keys_and_values_and_little_more(subject):
    of = subject(resolution=128)
    base = memory.peak(lambda: arms.Arm(BASE, of), of.device)
    guided = memory.peak(lambda: arms.nag(of), of.device, steps=2)
    kept = floor.kept(of.shape, 128, torch.float32)
    assert base > 0
    assert kept.cache <= guided - base <= kept.cache + kept.layer
    layers = arms.nag(of).guidance.runs[0].layers
    assert kept.cache == sum(2 * 77 * layer.width * 4 for layer in layers)


def record(nag, duplicate, **more):
    middle = {"off": 1.001, "outside": 0.9, "NAG": nag, "duplicate": duplicate, "NAG-PAG": 1.011, "without": 1.0}
    spreads = {n: {"median": r, "low": r - 0.002, "high": r + 0.002} for n, r in middle.items()}
    every = {n: {"ratio": s, "identical": n != "off", "waits": 0, "operators": 9} for n, s in spreads.items()}
    share = {"NAG": {"median": (m := (nag - 1) / (duplicate - 1)), "low": m - 0.04, "high": m + 0.04}}
    return {"kind": "unet", "arms": every, "to_duplicate": share, "published": None} | more


def test_targets_say_what_is_missed():
    made = {t["what"]: t["met"] for t in targets(record(1.02, 1.1))}
    assert made["NAG, time"] is True and made["off, time"] is True
    assert made["NAG-PAG, time"] is None  # its interval holds the limit
    assert made["off, other pictures than without"] is False and made["outside, other pictures than without"] is True
    assert made["NAG, time as a share of what 'duplicate' adds"]
    made = {t["what"]: t["met"] for t in targets(record(1.04, 1.1))}
    assert made["NAG, time"] is False and made["NAG, time as a share of what 'duplicate' adds"] is False
    made = {t["what"]: t["met"] for t in targets(record(1.027, 1.1))}
    assert made["NAG, time as a share of what 'duplicate' adds"] is None
    flux = targets(record(1.3, 1.6, kind="flux", published=0.87))
    assert [t["met"] for t in flux if t["what"].startswith("NAG, time")] == [True]


def test_transformers_are_cut_to_what_fits():
    flux = shapes.SHAPES["flux"]
    small = shapes.reduced(flux, torch.bfloat16, free=12 << 30, most=19)
    blocks = small.config["num_layers"]
    assert 1 < blocks < 19 and small.config["num_single_layers"] == 2 * blocks
    assert shapes.fits(small, torch.bfloat16, 12 << 30) and not shapes.fits(flux, torch.bfloat16, 12 << 30)
    assert shapes.reduced(flux, torch.bfloat16, free=1 << 40, most=19).config["num_layers"] == 19
