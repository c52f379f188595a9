"""What the tests of the front door look at."""

from __future__ import annotations

import contextlib

import numpy as np

from extras.nag.hosts.webui import account
from extras.nag.taps import count_taps


class Picture:
    """One job's outcome: ``pixels`` (B, H, W, 3), ``texts``, ``comments``, ``report`` (of the API's answer);
    ``images``: all that is in the gallery, ``extra`` what is of another size than the first."""

    def __init__(self, processed):
        self.images, self.first = list(processed.images), processed.index_of_first_image
        alike = [image for image in self.images if image.size == self.images[0].size]
        self.extra = [image for image in self.images if image.size != self.images[0].size]
        self.pixels = np.stack([np.asarray(image).astype(int) for image in alike])
        self.texts = processed.infotexts
        self.comments = processed.comments
        self.reports = processed.extra_generation_params.get("NAG report", {})
        self.report = self.reports.get("picture", {})

    def same(self, other, tolerance=0):
        return abs(self.pixels - other.pixels).max() <= tolerance


def script_of(engine, tab="txt2img"):
    return next(s for s in engine.runner(tab).alwayson_scripts if s.title() == "NAG Time")


def leftovers(engine):
    """What of ours is in the loaded model now: hooks, sessions."""
    hooks = len(engine.model.model._forward_pre_hooks)
    return count_taps(engine.model.model) + hooks + len(account.unended)


@contextlib.contextmanager
def model_calls():
    """A list of the latents and timesteps that the loaded model is called with, as long as it lasts."""
    from modules import shared

    calls, own = [], shared.sd_model.apply_model

    def seen(x, t, cond):
        calls.append((x.clone(), t.clone()))
        return own(x, t, cond)

    shared.sd_model.apply_model = seen
    try:
        yield calls
    finally:
        del shared.sd_model.apply_model
