"""A1111 and its relatives (Forge, reForge, Forge Classic; the Studio): one session per job, driven by the callbacks
that all of them have. What differs between them is in a1111.py and forge.py.

SD.Next draws in another way: sdnext.py has the same functions for it.
"""

from typing import Any

from .account import end_all, session_of
from .grid import preview_grid
from .handoff import prepare as prepare_handoff
from .handoff import set_cfg
from .jobs import on_cfg_after_cfg, on_cfg_denoiser, start
from .loaded import loaded_layers
from .names import names_in_use
from .session import Session
from .tokens import count_tokens

__all__ = [
    "Session",
    "begin_batch",
    "count_tokens",
    "end_all",
    "end_batch",
    "loaded_layers",
    "names_in_use",
    "prepare_handoff",
    "preview_grid",
    "session_of",
    "start",
    "wire",
]


def begin_batch(p: Any) -> None:
    """The host has not encoded the batch's prompts yet."""
    if session_of(p) is not None:
        set_cfg(p, on_base=True)


def end_batch(p: Any) -> None:
    """The batch is drawn; its passes have ended by themselves."""


def wire(callbacks: Any) -> None:
    """Hear of every evaluation of a sampler. ``callbacks``: the host's module of them."""
    callbacks.on_cfg_denoiser(on_cfg_denoiser)
    callbacks.on_cfg_after_cfg(on_cfg_after_cfg)
