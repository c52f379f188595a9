"""A1111 and its relatives (Forge, reForge, Forge Classic; the Studio): one session per job, driven by the callbacks
that all of them have. What differs between them is in a1111.py and forge.py."""

from .session import Session, end_all, on_cfg_after_cfg, on_cfg_denoiser, session_of, start

__all__ = ["Session", "end_all", "on_cfg_after_cfg", "on_cfg_denoiser", "session_of", "start"]
