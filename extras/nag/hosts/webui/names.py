"""The names of what a job draws with: its LoRAs, then its checkpoint."""

from __future__ import annotations

from typing import Any


def names_in_use(p: Any) -> list[str]:
    """File names without ending, as the host lists them; what cannot be found out is left out."""
    names = []
    for kind, entries in (getattr(p, "extra_network_data", None) or {}).items():
        if kind in ("lora", "lyco"):
            names += [str(entry.items[0]) for entry in entries if getattr(entry, "items", None)]
    info = getattr(getattr(p, "sd_model", None), "sd_checkpoint_info", None)
    name = getattr(info, "name_for_extra", None)
    return names + ([str(name)] if name else [])
