"""What differs between the families of A1111-style WebUIs, and which one this is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Protocol

from ...branches.text import ProjectContexts


class Family(Protocol):
    """The answers of one family. A session makes its own, and asks at every evaluation."""

    def network(self, sd_model: Any) -> Any:
        """The module whose forward is one model call."""
        ...

    def identity(self, sd_model: Any) -> Hashable:
        """Changes when another network denoises, or other weights in the same one."""
        ...

    def adapters(self, sd_model: Any) -> Hashable:
        """Changes when LoRAs and the like do: keys and values computed before are void."""
        ...

    def project_contexts(self) -> ProjectContexts | None:
        """What the host does to a context before a layer's keys and values (hypernetworks)."""
        ...

    def begin_rows(self, params: Any) -> None:
        """An evaluation of the sampler begins: one or several model calls. ``params``: what on_cfg_denoiser got."""
        ...

    def rows(self, count: int, kwargs: Mapping[str, Any]) -> list[tuple[int, int]]:
        """(row, image) of the conditional rows of a model call with ``count`` rows and these arguments. ValueError
        where their roles are not known."""
        ...

    def end_rows(self) -> None:
        """No model call is expected any more. Any number of times."""
        ...

    def set_cfg(self, params: Any, rule: Callable[[float], float]) -> None:
        """Put ``rule(scale)`` in the place of the CFG scale of this evaluation; the rule is asked with the scale that
        the host would really apply, also where that is 1."""
        ...

    def restore_cfg(self) -> None:
        """Undo set_cfg(). Any number of times. Raises what the rule has raised meanwhile."""
        ...

    def skip_uncond(self, params: Any) -> str:
        """Leave the unconditional half out of this evaluation; returns why that has no effect, or ""."""
        ...

    def make_ready(self, sd_model: Any, x: Any) -> None:
        """After an encoding in mid-run: the network is where it can be called with ``x`` again."""
        ...


def family_of(sd_model: Any) -> Family:
    """The family a loaded model belongs to, by what it has. LookupError for a model of neither."""
    from .a1111 import A1111
    from .forge import Forge

    if getattr(getattr(sd_model, "forge_objects", None), "unet", None) is not None:
        return Forge()
    if hasattr(sd_model, "model"):
        return A1111()
    raise LookupError(f"the host's model is {type(sd_model).__name__}; allowed: one with .model or .forge_objects.unet")


def host_here() -> ModuleType:
    """The module that does what the front door and the panel ask, for the WebUI we are in: of diffusers' pipelines in
    SD.Next, of samplers and their callbacks in all others."""
    if find_spec("modules.processing_diffusers") is not None:
        from . import sdnext

        return sdnext
    from .. import webui

    return webui
