"""What goes wrong in a job whose prompt says so: in the network or a layer of it, in another extension, in our code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from extras.studio.soak.asking import FAULT


class SoakFault(RuntimeError):
    """On purpose."""


def _raise(*args: Any, **kwargs: Any) -> Any:
    raise SoakFault("on purpose")


@contextlib.contextmanager
def _second_call(model: Any, act: Callable[..., Any]) -> Iterator[None]:
    """``act`` is the network's forward hook in its second call."""
    calls = []

    def hook(*args: Any) -> Any:
        calls.append(1)
        return act(*args) if len(calls) == 2 else None

    handle = model.model.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _unet_raises(model: Any) -> Any:
    return _second_call(model, _raise)


def _unet_is_nan(model: Any) -> Any:
    return _second_call(model, lambda module, args, output: output * float("nan"))


@contextlib.contextmanager
def _layer_raises(model: Any) -> Iterator[None]:
    """Between our hook before it and our hook after it."""
    from extras.nag.layers import find_layers

    attn = next(layer.attn for layer in find_layers(model.model) if layer.kind == "cross")
    handle = attn.to_v.register_forward_hook(_raise)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _replaced(place: Any, name: str) -> Iterator[None]:
    own = vars(place).get(name)
    setattr(place, name, _raise)
    try:
        yield
    finally:
        if own is None:
            delattr(place, name)
        else:
            setattr(place, name, own)


def _vae_raises(model: Any) -> Any:
    return _replaced(model.first_stage_model, "decode")


def _ours_raises(model: Any) -> Any:
    from extras.nag import taps

    return _replaced(taps.Tap, "_guided")


@contextlib.contextmanager
def _callback_raises(model: Any) -> Iterator[None]:
    from modules import script_callbacks

    script_callbacks.on_cfg_denoised(_raise)
    try:
        yield
    finally:
        script_callbacks.remove_callbacks_for_function(_raise)


FAULTS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "the network raises": (_unet_raises, 500),
    "the network gives NaN": (_unet_is_nan, 500),
    "a layer raises": (_layer_raises, 500),
    "the decoder raises": (_vae_raises, 500),
    "another callback raises": (_callback_raises, 200),
    "our own code raises": (_ours_raises, 200),
}
"""Name -> (what makes it, for the loaded model; the status of the answer)."""


def install() -> None:
    """From now on, a job of this process fails as its prompt says."""
    from modules import processing, shared

    process = processing.process_images

    def faulty(p: Any) -> Any:
        prompt = p.prompt if isinstance(p.prompt, str) else ""
        if not prompt.startswith(FAULT):
            return process(p)
        make, _ = FAULTS[prompt.removeprefix(FAULT)]
        with make(shared.sd_model):
            return process(p)

    processing.process_images = faulty


def quiet() -> None:
    """Their tracebacks would hide all else on the console."""
    sys.stderr = open("/dev/null" if sys.platform != "win32" else "nul", "w")  # noqa: SIM115 (for the process's life)
