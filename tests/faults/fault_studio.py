"""The Studio under test: pictures in process, with a fault, and what was left afterwards."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import torch
from nag_fault_tracer import Tracer

FIELDS = {
    "prompt": "a nerd", "steps": 2, "width": 64, "height": 64, "seed": 7, "subseed": 7, "cfg_scale": 7,
    "sampler_name": "Euler", "scheduler": "Automatic", "do_not_save_samples": True, "do_not_save_grid": True,
}  # fmt: skip


class Picture:
    """One job's outcome: ``pixels`` (B, H, W, 3), ``texts``, ``comments``, ``params`` and ``reports`` of the answer."""

    def __init__(self, processed):
        self.pixels = np.stack([np.asarray(image).astype(int) for image in processed.images])
        self.texts, self.comments = processed.infotexts, processed.comments
        self.params = processed.extra_generation_params
        self.reports = self.params.get("NAG report", {})
        self.report = self.reports.get("picture", {})

    def same(self, other) -> bool:
        return self.pixels.shape == other.pixels.shape and bool((self.pixels == other.pixels).all())


class FaultStudio:
    """``draw`` makes a picture, ``state`` is the account of what must be as before, ``tracer`` injects."""

    def __init__(self, models, extension, outputs):
        from extras.studio.engine import Engine

        torch.manual_seed(0)
        self.engine = Engine(models, extension, outputs, ckpt=models / "alpha.safetensors").load()
        self.tracer = Tracer()
        self.first = self.draw()
        self.before = self.state()

    def draw(self, nag=None, **fields) -> Picture:
        """A small picture; ``nag``: the typed object, None leaves the panel's values."""
        fields = {**FIELDS, **fields}
        tab = "img2img" if "init_images" in fields else "txt2img"
        args = self.engine.default_script_args(tab)
        if nag is not None:
            args[self.script(tab).args_from] = nag
        job = self.engine.img2img if tab == "img2img" else self.engine.txt2img
        return Picture(job(fields, args, is_api=True))

    @contextlib.contextmanager
    def fault(self, name=None, call=1):
        """While open, the ``call``-th call of our function ``name`` fails; without a name calls are counted."""
        self.tracer.start(name, call)
        try:
            yield self.tracer
        finally:
            self.tracer.stop()

    def script(self, tab="txt2img"):
        return next(s for s in self.engine.runner(tab).alwayson_scripts if s.title() == "NAG Time")

    def panel(self, tab="txt2img") -> str:
        """The report that the panel shows."""
        return self.script(tab).front.last

    @property
    def unet(self):
        return self.engine.model.model

    def state(self) -> dict:
        """Hooks, options, callbacks, generators, modes."""
        from extras.nag.taps import count_taps
        from modules import script_callbacks, shared
        from modules.sd_hijack import model_hijack

        modules = list(self.engine.model.modules())
        hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)
        return {
            "taps": count_taps(self.engine.model),
            "hooks": hooks,
            "replaced": [k for m in modules for k in ("forward", "__call__") if k in vars(m)],
            "options": dict(self.engine.opts.data),
            "callbacks": {k: [c.callback for c in v] for k, v in script_callbacks.callback_map.items()},
            "python": hash(random.getstate()),
            "numpy": hash(str(np.random.get_state()[1:3])) ^ hash(np.random.get_state()[1].tobytes()),
            "modes": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.is_inference_mode_enabled()),
            "hijack": (dict(model_hijack.extra_generation_params), list(model_hijack.comments)),
            "model": shared.sd_model.sd_checkpoint_info.filename,
        }

    def assert_clean(self, note="") -> None:
        """Everything is as it was, and the next picture is the first one, to the bit; so is torch's generator."""
        self._compare(note, but="model")  # a hires checkpoint stays until the next job, which loads the chosen one
        assert self.draw().same(self.first), f"the next picture differs {note}"
        self._compare(note)

    def _compare(self, note, but="") -> None:
        now = self.state()
        changed = [key for key in self.before if now[key] != self.before[key] and key != but]
        assert not changed, (note, {key: (self.before[key], now[key]) for key in changed})
        assert now["taps"] == 0, note
