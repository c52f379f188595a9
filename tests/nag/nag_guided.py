"""What the tests of several methods share: one forward under a Guidance, with the host's part of the formula."""

import nag_tiny
import torch
from nag_runs import TIMES

from extras.nag.guidance import Guidance
from extras.nag.settings import Settings
from extras.nag.taps import count_taps

OFF = {"nag": False}
ONE = {  # method -> settings that switch it on alone
    "NAG": {"scale": 5},
    "NAG-PAG": {**OFF, "nag_pag_scale": 3},
    "TPG": {**OFF, "tpg_scale": 3},
    "PAG": {**OFF, "pag_scale": 3},
    "three-way": {**OFF, "three_way_scale": 4},
}


def settings(*methods, **more):
    """Settings with these methods on."""
    values = {}
    for method in methods:
        values |= ONE[method]
    return Settings.parse({**values, "nag": "NAG" in methods, **more})


def forward(unet, x, context, negatives, options, w=1.0, t=749, seeds=None, rows=None, finish=True):
    """(output, reports) of one forward under guidance. At ``w`` other than 1 the first half of the rows is
    unconditional; with ``finish`` the result is what the host makes of it: u + w (c - u)."""
    count = x.shape[0] if w == 1 else x.shape[0] // 2
    first = 0 if w == 1 else count
    with Guidance(options, unet.model, strict=True) as guidance:
        guidance.begin(TIMES)
        if negatives is not None:
            guidance.set_negative(negatives)
        guidance.set_seeds(range(100, 100 + count) if seeds is None else seeds)
        guidance.step_at(t)
        guidance.cfg_scale(w)
        guidance.call([(first + i, i) for i in range(count)] if rows is None else rows)
        out = unet(x, t, context)
    assert count_taps(unet.model) == 0
    if finish and w != 1:
        out = out[:count] + w * (out[count:] - out[:count])
    return out, guidance.reports


def doubled(model):
    """In float64, behind one call."""
    return nag_tiny.Callable(model.double())


def wide(*tensors):
    """In float64."""
    return [x.double() if isinstance(x, torch.Tensor) else [y.double() for y in x] for x in tensors]
