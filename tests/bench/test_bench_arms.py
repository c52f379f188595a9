"""The arms are what they say: they act or do not, and the plain readings of the paper agree with ours."""

import pytest
import torch

from extras.bench import arms, counting
from extras.bench.arms import (
    ALONE,
    BASE,
    CFG_STEP,
    DUPLICATE,
    FILLED,
    FUSED,
    NAG,
    NAG_PAG,
    OFF,
    OUTSIDE,
    PAG_FUSED,
    SHARED,
    TPG,
)
from extras.bench.timing import one_step
from extras.nag.taps import count_taps

UNETS = ("tiny-sd15", "tiny-sdxl")


def counts_of(arm):
    arm.ready()
    try:
        return counting.counted(arm.step)
    finally:
        arm.rest()


@pytest.mark.parametrize("name", [*UNETS, "tiny-flux"])
def test_what_acts_acts_and_what_is_off_is_bit_identical(subject, name):
    of = subject(name, batch=2)
    untouched = of.forward()
    every = arms.arms(of)
    outputs = {arm: one_step(every[arm])[2] for arm in [*every, *every]}  # each a second time, after all the others
    for arm in (BASE, OFF, OUTSIDE):
        assert torch.equal(outputs[arm], untouched), arm
    for arm in (FILLED, ALONE):
        assert arm not in outputs or torch.allclose(outputs[arm], untouched, atol=1e-5), arm
    acting = [arm for arm in outputs if arm not in (BASE, OFF, OUTSIDE, FILLED, ALONE, CFG_STEP)]
    for arm in acting:
        assert (outputs[arm] - untouched).abs().sum() > 1e-2 * untouched.abs().sum(), arm
    different = [arm for arm in acting if arm not in (FUSED, PAG_FUSED, DUPLICATE, SHARED)]
    for i, one in enumerate(different):
        for other in different[i + 1 :]:
            assert not torch.allclose(outputs[one], outputs[other], atol=1e-3), (one, other)
    for arm in every.values():
        assert count_taps(of.model) == 0
        arm.close()


@pytest.mark.parametrize("name", UNETS)
def test_the_plain_readings_give_our_picture(subject, name):
    every = arms.arms(subject(name, batch=2))
    ours, *plain = (one_step(every[arm])[2] for arm in (NAG, FUSED, DUPLICATE, SHARED))
    for other in plain:
        torch.testing.assert_close(other, ours, atol=1e-5, rtol=1e-4)
    pag, fused = (one_step(every[arm])[2] for arm in (NAG_PAG, PAG_FUSED))
    torch.testing.assert_close(fused, pag, atol=1e-5, rtol=1e-4)


def test_the_plain_flux_is_the_published_one(subject):
    """Our own code has a setting for the published arithmetic (a second copy of the image in single blocks)."""
    of = subject("tiny-flux")
    every = arms.arms(of)
    plain = one_step(every[DUPLICATE])[2]
    every[NAG].guidance.runs[0].source.own_image = True
    torch.testing.assert_close(one_step(every[NAG])[2], plain, atol=1e-5, rtol=1e-4)


def test_cfg_is_two_predictions_and_tpg_too(subject):
    every = arms.arms(subject())
    base = counts_of(every[BASE])
    assert counts_of(every[TPG]).attentions == 2 * base.attentions
    assert counts_of(every[CFG_STEP]).attentions == base.attentions  # in one batch
    assert every[CFG_STEP]._inputs["sample"].shape[0] == 2


@pytest.mark.parametrize("name", UNETS)
def test_a_guided_step_costs_one_attention_per_layer_and_projects_once(subject, name):
    of = subject(name)
    base = counts_of(arms.Arm(BASE, of))
    guided = arms.nag(of)
    layers = len(guided.guidance.runs[0].layers)
    first, steady, later = (counts_of(guided) for _ in range(3))
    assert base.attentions == 2 * layers
    assert first.projections - base.projections == 2 * layers  # keys and values of the negative
    assert steady.projections == base.projections
    assert first.attentions == steady.attentions == base.attentions + layers
    assert steady.names == later.names  # nothing grows from step to step
    assert counts_of(arms.Arm(BASE, of)).names == base.names


@pytest.mark.parametrize("name", [*UNETS, "tiny-flux"])
def test_no_step_waits_for_the_device(subject, name):
    for arm in arms.arms(subject(name)).values():
        counts_of(arm)
        assert counts_of(arm).waits == 0, arm.name


@pytest.mark.parametrize("name", UNETS)
def test_our_way_asks_less_of_the_device_than_duplicating(subject, name):
    every = arms.arms(subject(name))
    for arm in every.values():
        counts_of(arm)
    found = {arm: counts_of(every[arm]) for arm in (BASE, OFF, OUTSIDE, NAG, NAG_PAG, DUPLICATE)}
    assert found[OFF].names == found[OUTSIDE].names == found[BASE].names
    layers = len(every[NAG].guidance.runs[0].layers)
    assert found[NAG].operators - found[BASE].operators <= 18 * layers  # two of them fill up the prompt
    assert found[NAG].operators < found[DUPLICATE].operators
    assert found[NAG_PAG].attentions == found[BASE].attentions


def test_waits_are_seen():
    counts = counting.counted(lambda: float(torch.ones(3).sum()))
    assert counts.waits == 1
    assert counting.counted(lambda: torch.ones(3).nonzero()).waits == 1
    assert counting.counted(lambda: torch.ones(3) + 1).waits == 0


def test_without_cuda_there_are_no_launches():
    assert counting.launches(lambda: None, torch.device("cpu")) is None
