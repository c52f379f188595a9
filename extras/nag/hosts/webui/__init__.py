"""A1111 and its relatives (Forge, reForge, Forge Classic; the Studio): one session per job, driven by the callbacks
that all of them have. What differs between them is in a1111.py and forge.py."""

from .handoff import prepare as prepare_handoff
from .handoff import set_cfg
from .jobs import end_all, on_cfg_after_cfg, on_cfg_denoiser, session_of, start
from .names import names_in_use
from .session import Session

__all__ = [
    "Session",
    "end_all",
    "names_in_use",
    "on_cfg_after_cfg",
    "on_cfg_denoiser",
    "prepare_handoff",
    "session_of",
    "set_cfg",
    "start",
]
