"""``<lora:name:weight>`` in a prompt, by the names of A1111's own extension for it: other extensions look at
`loaded_networks` and may change a multiplier between two steps.

The change is added to each layer's answer, so weights are never touched and switching costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from extras.studio import lora_files, lora_modules
from modules import extra_networks, shared

loaded_networks: list[Network] = []
lora_dir: Path | None = None
_files: dict[tuple[Path, int], lora_files.LoraFile] = {}  # read ones, by path and time


class Network:
    """One LoRA in use. The multipliers are read at every call of a layer."""

    def __init__(self, name: str, file: lora_files.LoraFile, te_multiplier: float, unet_multiplier: float):
        self.name = self.mentioned_name = name
        self.file = file
        self.te_multiplier, self.unet_multiplier, self.dyn_dim = te_multiplier, unet_multiplier, None
        self._away: list[Callable[[], None]] = []

    def attach(self, model: Any) -> int:
        """Act in this model; returns how many parts found no layer."""
        self.detach()
        known = lora_modules.places(model.model.diffusion_model, _encoders(model))
        lost = 0
        for place, factors in self.file.parts.items():
            module = known.get(place)
            if module is None or not lora_modules.fits(module, factors):
                lost += 1
                continue
            strength = self._unet if place[0] == "unet" else self._te
            self._away.append(lora_modules.attach(module, factors, strength))
        return lost

    def detach(self) -> None:
        """Leave the model. Any number of times."""
        away, self._away = self._away, []
        for remove in away:
            remove()

    def _unet(self) -> float:
        return self.unet_multiplier

    def _te(self) -> float:
        return self.te_multiplier


class ExtraNetworkLora(extra_networks.ExtraNetwork):
    """The tag's handler: called for every batch, also with an empty list."""

    def __init__(self) -> None:
        super().__init__("lora")

    def activate(self, p: Any, params_list: Sequence[Any]) -> None:
        """Load what the prompt names. What cannot be is told under the picture; the others act."""
        clear()
        for params in params_list:
            if len(params.positional) < 1:
                p.comment("<lora:…> in the prompt names no file.")
                continue
            name = params.positional[0].strip()
            try:
                network = _network(name, params)
                lost = network.attach(shared.sd_model)
            except (lora_files.LoraError, ValueError) as error:
                p.comment(str(error))
                continue
            parts = len(network.file.parts)
            if lost == parts:
                network.detach()
                p.comment(f"LoRA {name}: none of its {parts} parts fits this model; it was left out.")
                continue
            if lost or network.file.foreign:
                known = parts + len(network.file.foreign)
                p.comment(f"LoRA {name}: {lost + len(network.file.foreign)} of its {known} parts do not fit here.")
            loaded_networks.append(network)
        if loaded_networks and shared.opts.lora_add_hashes_to_infotext:
            hashes = ", ".join(f"{network.name}: {network.file.hash}" for network in loaded_networks)
            p.extra_generation_params["Lora hashes"] = hashes

    def deactivate(self, p: Any) -> None:
        """The job is over."""
        clear()


def available() -> dict[str, Path]:
    """Name -> file."""
    return {} if lora_dir is None else lora_files.list_files(lora_dir)


def clear() -> None:
    """No LoRA acts any more."""
    for network in loaded_networks:
        network.detach()
    loaded_networks.clear()


def install(folder: Path) -> None:
    """The Studio starts: LoRAs are in this folder."""
    global lora_dir
    clear()
    lora_dir = Path(folder)
    handler = ExtraNetworkLora()
    extra_networks.register_extra_network(handler)
    extra_networks.register_extra_network_alias(handler, "lyco")


def reattach(model: Any) -> None:
    """Another model has taken over in mid-run."""
    for network in loaded_networks:
        network.attach(model)


def _network(name: str, params: Any) -> Network:
    files = available()
    if name not in files:
        there = ", ".join(files) or "none"
        raise lora_files.LoraError(f"LoRA {name!r} was not found in {lora_dir}; there: {there}.")
    path = files[name]
    te = _number(name, params.named.get("te", params.positional[1] if len(params.positional) > 1 else "1"))
    unet = _number(name, params.named.get("unet", params.positional[2] if len(params.positional) > 2 else str(te)))
    stamp = (path, path.stat().st_mtime_ns)
    if stamp not in _files:
        for old in [key for key in _files if key[0] == path]:
            del _files[old]
        _files[stamp] = lora_files.read(path)
    return Network(name, _files[stamp], te, unet)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= 100:
        raise lora_files.LoraError(f"LoRA {name}: weight {text!r} is not possible; allowed: a number from -100 to 100.")
    return value


def _encoders(model: Any) -> list[Any]:
    stage = model.cond_stage_model
    if hasattr(stage, "encoders"):  # of a flow
        return list(stage.encoders)
    return [one.wrapped.transformer for one in getattr(stage, "embedders", [stage])]
