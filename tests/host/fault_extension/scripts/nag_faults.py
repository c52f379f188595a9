"""A WebUI extension for tests only: makes things go wrong when a request asks for it, and tells what is in the host.

Link this folder's parent into a host's extensions/ beside NAG Time. A request's ``"NAG Faults": {"args": [{...}]}``:

    {"where": "ours", "name": "extras.nag.run:begin@56", "call": 1}   that function of ours raises
    {"where": "model" | "vae" | "nan", "call": 1}                     the host's own part raises or gives NaN
    {"where": "interrupt" | "skip" | "stop", "call": 2}               as the user would, before that evaluation
    {"where": "count"}                                                 counts the calls of our functions
    {"where": "absent"}                                                the job is made as if NAG Time were not there

GET /nag-faults says what happened in the latest job, and what of ours is in the host now.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time

import gradio as gr
import numpy as np
import torch
from nag_fault_tracer import Tracer

from modules import processing, script_callbacks, scripts, shared


class HostFault(Exception):
    """The host's part of the job fails."""


class Faults:
    """The fault of the latest job. ``happened``: it has."""

    def __init__(self):
        self.tracer = Tracer()
        self.fault: dict = {}
        self.evaluations = 0
        self.done = False
        self.undo: list = []
        self.random = random.getstate()
        self.seconds = 0.0  # CPU time of the latest job, in its thread
        self.drew = False  # the latest job took numbers from Python's generator; hosts do so between jobs

    @property
    def happened(self) -> bool:
        return self.tracer.fired if self.fault.get("where") == "ours" else self.done

    def begin(self, p, fault) -> None:
        self.end()
        self.fault = dict(fault) if isinstance(fault, dict) else {}
        self.evaluations, self.done = 0, False
        self.random, self.drew = random.getstate(), False
        where = self.fault.get("where")
        if where == "absent":
            self._take_out(p.scripts)
        if where == "vae":
            self._replace(processing, "decode_latent_batch", self._fail)
        if where in ("ours", "count"):
            self.tracer.start(self.fault.get("name"), int(self.fault.get("call", 1)))

    def end(self) -> None:
        self.tracer.stop()
        for undo in self.undo:
            undo()
        self.undo = []

    def evaluate(self, params) -> None:
        """Before an evaluation of the sampler."""
        self.evaluations += 1
        where = self.fault.get("where")
        if self.evaluations != int(self.fault.get("call", 1)) or self.done:
            return
        if where in ("interrupt", "skip", "stop"):
            self.done = True
            getattr(shared.state, {"stop": "stop_generating"}.get(where, where))()
        elif where in ("model", "nan"):
            handle = network().register_forward_hook(self._break)
            self.undo.append(handle.remove)

    def _break(self, module, args, output):
        if self.done:
            return None
        self.done = True
        if self.fault["where"] == "model":
            raise HostFault("the network")
        return output * float("nan")

    def _fail(self, *args, **kwargs):
        self.done = True
        raise HostFault(self.fault["where"])

    def _take_out(self, runner) -> None:
        """NAG Time's script and callbacks leave the host's lists until the end of the job."""
        callbacks = [listed for listed in script_callbacks.callback_map.values()]
        for listed in [runner.alwayson_scripts, *callbacks]:
            kept = list(listed)
            listed[:] = [x for x in kept if not is_ours(x)]
            self.undo.append(lambda listed=listed, kept=kept: listed.__setitem__(slice(None), kept))
        self.undo.append(lambda: forget_order(runner))
        forget_order(runner)

    def _replace(self, owner, name, by) -> None:
        own = getattr(owner, name)
        setattr(owner, name, by)
        self.undo.append(lambda: setattr(owner, name, own))


faults = Faults()


def is_ours(listed) -> bool:
    """A script, or a registered callback, of NAG Time."""
    return os.path.basename(getattr(listed, "filename", None) or getattr(listed, "script", "")) == "nag_time.py"


def forget_order(runner) -> None:
    """Hosts keep sorted copies of the lists."""
    for kept in (runner.callback_map, script_callbacks.ordered_callbacks_map):
        kept.clear()


def network():
    """The module that predicts, in whatever host."""
    objects = getattr(shared.sd_model, "forge_objects", None)
    return objects.unet.model.diffusion_model if objects is not None else shared.sd_model.model.diffusion_model


def digest(value) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def hooks() -> dict:
    """Hooks in the network and what wraps it: ours, all."""
    taps = sys.modules["extras.nag.taps"]
    objects = getattr(shared.sd_model, "forge_objects", None)
    outer = objects.unet.model if objects is not None else shared.sd_model.model
    tables = [t for m in outer.modules() for t in (m._forward_hooks, m._forward_pre_hooks)]
    return {"ours": taps.count_taps(outer), "all": sum(map(len, tables))}


def patches() -> dict:
    """What is in the options of Forge's model patchers: names and counts."""

    def shape(value):
        if isinstance(value, dict):
            return {str(k): shape(v) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))}
        return len(value) if isinstance(value, (list, tuple)) else type(value).__name__

    found = {}
    for name in ("forge_objects", "forge_objects_original", "forge_objects_after_applying_lora"):
        objects = getattr(shared.sd_model, name, None)
        if objects is not None:
            found[name] = shape(objects.unet.model_options)
    return found


def callbacks() -> dict:
    """Registered callbacks by kind."""
    found = {}
    for kind, listed in script_callbacks.callback_map.items():
        found[kind] = [f"{getattr(c.callback, '__module__', '')}.{c.callback.__name__}" for c in listed]
    return found


def state() -> dict:
    """What a picture must leave as it was; digests where the values are long."""
    numbers = np.random.get_state()
    options = {k: v for k, v in shared.opts.data.items() if k not in ("sd_checkpoint_hash",)}
    return {
        "hooks": hooks(),
        "patches": digest(patches()),
        "callbacks": digest(callbacks()),
        "options": digest(sorted(options.items(), key=lambda kv: kv[0])),
        "torch": digest(torch.get_rng_state().tolist()),
        "numpy": digest([*numbers[1].tolist(), *numbers[2:]]),
        "python": faults.drew,
        "modes": [torch.is_grad_enabled(), str(torch.get_default_dtype())],
    }


class NagFaults(scripts.Script):
    def title(self):
        return "NAG Faults"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Textbox("", label="Fault", visible=False)]

    def before_process(self, p, fault=None, *args):
        if isinstance(fault, str) and fault:
            fault = json.loads(fault)
        faults.begin(p, fault)
        faults.seconds = -time.thread_time()

    def postprocess(self, p, processed, *args):
        faults.end()
        faults.seconds += time.thread_time()
        faults.drew = random.getstate() != faults.random


def add_routes(demo, app) -> None:
    @app.get("/nag-faults")
    def tell():
        return {
            "happened": faults.happened,
            "seconds": faults.seconds,
            "counts": faults.tracer.counts,
            "state": state(),
        }


script_callbacks.on_cfg_denoiser(faults.evaluate)
script_callbacks.on_app_started(add_routes)
