"""Random jobs with faults in the host itself, each followed by the plain picture. Needs the extension of
fault_extension/ in the host. NAG_HOST_RUNS: how many, NAG_HOST_SEED: from which."""

import os

import host_random
import pytest
from host_client import GLASSES, Drawn, Refused, written
from PIL import Image

capability = pytest.mark.capability
FULL = bool(os.environ.get("NAG_HOST_URL"))  # the Studio is tried in process, every function of it
RUNS = int(os.environ.get("NAG_HOST_RUNS", "200" if FULL else "25"))
SEED = int(os.environ.get("NAG_HOST_SEED", "1"))
SCHEDULERS = ("Automatic", "Karras", "Exponential", "SGM Uniform")
FAULTS = "NAG Faults"


@pytest.fixture(scope="module")
def injected(host):
    if not host.injects:
        pytest.skip("the extension that injects faults is not in this host")
    host.draw()
    return host


@pytest.fixture(scope="module")
def names(injected):
    """Our functions that a picture with many features calls in this host, but for those which the host calls."""
    from nag_fault_tracer import is_entry

    nag = {"negative": ["[a:b:.5] <lora:x:1>", ""], "scale": 8, "cooldown": 0.4, "end": 0.6, "ramp_steps": 2}
    injected.draw(
        nag, always={FAULTS: [{"where": "count"}]}, prompt="a nerd AND a hat", batch_size=2, cfg_scale=7,
        enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.7, steps=2,
    )  # fmt: skip
    counts = injected.get("/nag-faults")["counts"]
    return sorted(name for name in counts if not is_entry(name))


def state_after_a_plain_picture(host):
    assert host.restored()
    return host.get("/nag-faults")["state"]


def attempt(host, nag, fault, **fields):
    """The answer, or the refusal where the host failed the request."""
    try:
        answer = host.answer(nag, always={FAULTS: [fault] if fault else []}, **fields)
    except Refused as refused:
        return refused
    return Drawn(answer)


@capability("an error in any function of ours: told, and the picture is finished")
def test_every_function_of_ours(injected, names, note):
    wrong = {}
    before = state_after_a_plain_picture(injected)
    for name in names if FULL else names[::5]:
        drawn = attempt(injected, GLASSES, {"where": "ours", "name": name, "call": 1}, steps=2)
        seen = injected.get("/nag-faults")
        if not seen["happened"]:
            continue  # this simpler picture does not call it
        if isinstance(drawn, Refused):
            wrong[name] = str(drawn)[:200]
        elif "a fault of ours" not in str(drawn.params):
            wrong[name] = "not told in the answer"
        if not injected.restored():
            wrong[name] = "the plain picture is another one afterwards"
        after = injected.get("/nag-faults")["state"]
        if changed := [k for k in before if after[k] != before[k]]:
            wrong[name] = f"{wrong.get(name, '')} changed: {changed}"
    note(f"{len(names)} functions")
    assert len(names) > 100 and not wrong, wrong


@capability("random jobs with faults, each followed by the plain picture, to the bit")
def test_random_jobs(injected, names, note):
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 56))
    before = state_after_a_plain_picture(injected)
    happened, refused, guided = 0, 0, 0
    for seed in range(SEED, SEED + RUNS):
        made, nag, fault = host_random.job(seed, injected.samplers, SCHEDULERS, injected.others, names)
        fields = dict(made)
        if fields.pop("init", False):
            fields["init_images"] = [written(image)]
        if fields.pop("mask", False):
            fields["mask"] = written(mask)
        if name := fields.get("hr_checkpoint_name"):
            fields["hr_checkpoint_name"] = next(m["title"] for m in injected.api("sd-models") if name in m["title"])
        drawn = attempt(injected, nag, fault, **fields)
        case = f"seed {seed}: {made} {nag} {fault}"
        seen = injected.get("/nag-faults")
        happened += seen["happened"]
        if isinstance(drawn, Refused):
            refused += 1
            hosts_own = bool(fault) and fault["where"] in ("model", "vae", "nan") and seen["happened"]
            assert hosts_own or isinstance(attempt(injected, None, None, **fields), Refused), f"{case}: {drawn}"
        else:
            acted = any(report["calls"] for report in drawn.reports.values())
            guided += acted
            if nag is not None and not acted and not seen["happened"]:
                assert drawn.error or drawn.warning, f"nothing was guided, and nothing is said of it: {case}"
            if seen["happened"] and fault["where"] == "ours":
                assert "a fault of ours" in str(drawn.params), case
        assert injected.restored(), f"the plain picture is another one after {case}"
        after = injected.get("/nag-faults")["state"]
        changed = [k for k in before if after[k] != before[k]]
        assert not changed, f"{changed} changed after {case}: {[(before[k], after[k]) for k in changed]}"
    note(f"{RUNS} jobs: {guided} guided, {happened} faults, {refused} of them ended the host's job")
    assert guided > 0.3 * RUNS and happened > 0.15 * RUNS
