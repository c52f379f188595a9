"""Random jobs: settings of ours, features of a host, and a fault. The same seed gives the same job.

Used in process (tests/faults) and over HTTP (here), so it needs nothing but Python.
"""

from __future__ import annotations

import random

PROMPTS = (
    "a nerd",
    "",
    "a nerd AND a pink background :0.5",
    "a nerd, [hat:tree:0.5], (red:1.3)",
    "a [nerd|king] BREAK a hill",
    "a nerd, " + "red hat, " * 45,
)
NEGATIVES = (
    "glasses", "", "(glasses:1.4), [hat]", "[glasses:hat:0.5]", "[glasses|hat]", "glasses BREAK tree", "glasses, " * 50,
    "glasses <lora:none:1>", "(glasses",
)  # fmt: skip
LAYERS = ("all", "m0", "d*", "all,!m0", "u*", "no-such-layer")
BAD = ({"scal": 3}, {"scale": 99}, {"start": 0.5, "end": 0.2}, {"unit": "meters"}, {"negative": 5}, {"tau": "high"})
OURS, MODEL, VAE, NAN, STOPS = "ours", "model", "vae", "nan", ("interrupt", "skip", "stop")


def nag_settings(rng: random.Random, images: int) -> dict | None:
    """Options of NAG Time as the API takes them; None: the picture is made without."""
    if rng.random() < 0.06:
        return None
    given: dict = {"negative": rng.choice(NEGATIVES), "scale": round(rng.uniform(1, 12), 2)}
    if rng.random() < 0.15:
        given["negative"] = [rng.choice(NEGATIVES) for _ in range(images)]
    chances = {
        "tau": lambda: round(rng.uniform(1, 6), 2),
        "alpha": lambda: round(rng.random(), 3),
        "ramp_steps": lambda: rng.randint(0, 4),
        "layers": lambda: rng.choice(LAYERS),
        "empty_negative": lambda: rng.choice(("guide", "skip", "host")),
        "hires": lambda: rng.choice(("both", "first", "second")),
        "skip_uncond": lambda: True,
    }
    for name, value in chances.items():
        if rng.random() < 0.3:
            given[name] = value()
    if rng.random() < 0.5:
        given["unit"] = unit = rng.choice(("noise", "steps", "sigma"))
        low, high = sorted((round(rng.random(), 2), round(rng.random(), 2)))
        given |= {"start": low, "end": max(high, low + 0.01)}
        if unit == "sigma":
            given |= {"start": rng.choice((0, 10)), "end": rng.choice((0, 0.5, 2))}
    if rng.random() < 0.2:
        given |= {"cooldown": round(rng.random(), 2), "cooldown_drop": round(rng.random(), 2)}
    if rng.random() < 0.08:
        given |= rng.choice(BAD)
    return given


def fields(rng: random.Random, samplers: list[str], schedulers: list[str], checkpoints: list[str]) -> dict:
    """Fields of a request. ``init`` and ``mask`` (True or False) ask for pictures that the caller has."""
    made: dict = {
        "prompt": rng.choice(PROMPTS),
        "negative_prompt": rng.choice(NEGATIVES[:7]),
        "steps": rng.randint(2, 4),
        "seed": rng.randint(1, 10_000),
        "subseed": 1,
        "cfg_scale": rng.choice((1, 1, 1.5, 7)),
        "sampler_name": rng.choice(samplers),
        "scheduler": rng.choice(schedulers) if rng.random() < 0.3 else "Automatic",
        "batch_size": rng.choice((1, 1, 1, 1, 2, 3)),
        "n_iter": rng.choice((1, 1, 1, 1, 1, 2)),
    }
    kind = rng.random()
    if kind < 0.25:
        made |= {
            "enable_hr": True,
            "hr_scale": 1.5,
            "hr_upscaler": "Latent",
            "hr_second_pass_steps": rng.randint(0, 3),
            "denoising_strength": round(rng.uniform(0.3, 0.9), 2),
            "hr_negative_prompt": rng.choice(("", "hat")),
        }
        if checkpoints and rng.random() < 0.1:
            made["hr_checkpoint_name"] = rng.choice(checkpoints)
    elif kind < 0.5:
        made |= {"init": True, "mask": kind > 0.38, "denoising_strength": round(rng.uniform(0.4, 0.95), 2)}
        if made["mask"]:
            made |= {
                "mask_blur": rng.choice((0, 4)),
                "inpainting_fill": rng.randint(0, 3),
                "inpaint_full_res": rng.random() < 0.5,
            }
    return made


def fault(rng: random.Random, names: list[str]) -> dict | None:
    """What goes wrong: {"where": ..., "call": n} with n from 1, and for our own functions "name"."""
    kind = rng.random()
    if kind < 0.2:
        return None
    if kind < 0.6:
        return {"where": OURS, "name": rng.choice(names), "call": rng.choice((1, 1, 2, 3, rng.randint(1, 30)))}
    if kind < 0.72:
        return {"where": MODEL, "call": rng.randint(1, 4)}
    if kind < 0.77:
        return {"where": VAE, "call": 1}
    if kind < 0.8:
        return {"where": NAN, "call": rng.randint(1, 2)}
    return {"where": rng.choice(STOPS), "call": rng.randint(1, 5)}


def job(seed: int, samplers, schedulers, checkpoints, names) -> tuple[dict, dict | None, dict | None]:
    """(fields, options of NAG Time or None, fault or None)."""
    rng = random.Random(seed)
    made = fields(rng, list(samplers), list(schedulers), list(checkpoints))
    settings = nag_settings(rng, made["batch_size"] * made["n_iter"])
    return made, settings, fault(random.Random(f"fault {seed}"), list(names))
