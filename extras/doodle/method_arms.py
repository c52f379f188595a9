"""Every guidance method as an arm of the demo: on the student at CFG 1, on the base model beside CFG."""

from __future__ import annotations

from typing import Any

from .evaluate import Arm
from .sampling import grid

GROUPS = ("nag", "nag-pag", "tpg", "pag", "three-way", "together")
BASE_STEPS, BASE_CFG = 15, 4.0
ONLY: dict[str, Any] = {"nag": False}
NAG_PAG: dict[str, Any] = {"nag_pag_scale": 3.0}
TPG: dict[str, Any] = {"tpg_scale": 3.0}
# These models are small, one block in the middle: PAG takes all layers here.
PAG: dict[str, Any] = {"pag_scale": 1.5, "pag_layers": "all"}
SOFT: dict[str, Any] = {"pag_scale": 3.0, "pag_layers": "all", "pag_beta": 0.5, "pag_heads": "0-1"}
THREE_WAY: dict[str, Any] = {"three_way_scale": 12.0}


def student_arms(groups: set[str]) -> list[Arm]:
    """Four steps, CFG 1."""
    from extras.nag.settings import load_preset

    nag = dict(load_preset("Doodle student").settings)
    gated = dict(load_preset("Doodle NAG Time").settings)
    ways = [
        ("nag", Arm("NAG", nag=nag)),
        ("nag", Arm("NAG Time", nag=gated)),
        ("nag", Arm("NAG, adaptive 1", nag={**nag, "adaptive": 1.0})),
        ("nag", Arm("NAG, half in u0-u5", nag={**nag, "layers": "all,u0-u5=0.5"})),
        ("nag-pag", Arm("NAG-PAG", nag={**ONLY, **NAG_PAG})),
        ("nag-pag", Arm("NAG and NAG-PAG", nag={**nag, **NAG_PAG})),
        ("tpg", Arm("TPG", nag={**ONLY, **TPG})),
        ("pag", Arm("PAG", nag={**ONLY, **PAG})),
        ("pag", Arm("SoftPAG, heads 0-1", nag={**ONLY, **SOFT})),
        ("three-way", Arm("three-way", nag={**ONLY, **THREE_WAY})),
        ("together", Arm("NAG, TPG, PAG", nag={**nag, **TPG, **PAG})),
        ("together", Arm("all", nag={**nag, **NAG_PAG, **TPG, **PAG, "three_way_scale": 4.0})),
    ]
    return [Arm("untreated"), *(arm for group, arm in ways if group in groups)]


def base_arms(groups: set[str]) -> list[Arm]:
    """More steps, CFG 4 against the empty prompt; compared with CFG 4 alone."""
    common: dict[str, Any] = {"cfg": BASE_CFG, "untreated": BASE_CFG, "times": grid(BASE_STEPS)}

    def way(name: str, **nag: Any) -> Arm:
        return Arm(name, nag=nag, uncond="", **common)

    nag = {"scale": 8.0, "alpha": 0.65}
    ways = [
        ("nag", Arm("CFG with the negative", **common)),
        ("nag", way("CFG and NAG", **nag)),
        ("nag-pag", way("CFG and NAG-PAG", **ONLY, **NAG_PAG)),
        ("tpg", way("CFG and TPG", **ONLY, **TPG)),
        ("tpg", way("TPG alone", **ONLY, **TPG, tpg_mode="alone")),
        ("tpg", way("CFG, TPG and NAG", **nag, **TPG)),
        ("pag", way("CFG and PAG", **ONLY, **PAG)),
        ("three-way", way("CFG and three-way", **ONLY, **THREE_WAY)),
        ("together", way("all", **nag, **NAG_PAG, **TPG, **PAG, three_way_scale=4.0)),
    ]
    return [Arm("CFG", uncond="", **common), *(arm for group, arm in ways if group in groups)]
