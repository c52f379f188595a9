"""One typed record of every option of a run. The table behind it is in fields.py, presets in
presetbook.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .field import Field, SettingsError
from .fields import FIELDS, check_values
from .presetbook import Preset, delete_preset, list_presets, load_preset, save_preset
from .schedule import Schedule

__all__ = [
    "FIELDS",
    "Field",
    "Preset",
    "Settings",
    "SettingsError",
    "delete_preset",
    "list_presets",
    "load_preset",
    "save_preset",
]


@dataclass(frozen=True)
class Settings:
    """Every option, with the defaults, ranges and meanings of FIELDS. Construction validates (SettingsError).

    ``enabled`` is the switch of a front door: a Run or guide() that is made acts whatever it says.
    """

    enabled: bool = False
    negative: str = ""
    scale: float = 3.0
    tau: float = 2.5
    alpha: float = 0.5
    start: float = 0.0
    end: float = 1.0
    unit: str = "noise"
    ramp_steps: int = 0
    cooldown: float = 0.0
    cooldown_drop: float = 0.2
    layers: str = "all"
    empty_negative: str = "guide"
    hires: str = "both"
    skip_uncond: bool = False
    nag: bool = True
    nag_pag_scale: float = 0.0
    nag_pag_tau: float = 2.5
    nag_pag_alpha: float = 0.5
    nag_pag_beta: float = 1.0
    nag_pag_heads: str = "all"
    nag_pag_layers: str = "auto"
    nag_pag_start: float = 0.0
    nag_pag_end: float = 1.0
    tpg_scale: float = 0.0
    tpg_mode: str = "with CFG"
    tpg_layers: str = "auto"
    tpg_start: float = 0.0
    tpg_end: float = 1.0
    pag_scale: float = 0.0
    pag_beta: float = 1.0
    pag_heads: str = "all"
    pag_layers: str = "auto"
    pag_start: float = 0.0
    pag_end: float = 1.0
    three_way_scale: float = 1.0
    three_way_tau: float = 2.5
    three_way_alpha: float = 0.5
    three_way_start: float = 0.0
    three_way_end: float = 1.0
    map: bool = False
    handoff_steps: int = 0
    handoff_checkpoint: str = ""
    handoff_lora: str = ""
    handoff_cfg: float = 7.0
    adaptive: float = 0.0
    together: bool = False
    own_image: bool = False
    fused: bool = False

    def __post_init__(self) -> None:
        for name, value in check_values({f.name: getattr(self, f.name) for f in fields(self)}).items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Settings:
        """From untyped data (API, infotext, JSON). Unknown fields and bad values: one SettingsError with all
        of them."""
        return cls(**check_values(values))

    def merged(self, values: Mapping[str, object]) -> Settings:
        """A copy with some options changed, e.g. those of a preset."""
        return type(self)(**(self.to_dict() | check_values(values, base=self.to_dict())))

    def to_dict(self) -> dict[str, Any]:
        """Field name -> value, JSON-ready, in the order of FIELDS."""
        return asdict(self)

    def changed(self) -> dict[str, Any]:
        """Only what differs from the default."""
        return {name: value for name, value in self.to_dict().items() if value != FIELDS[name].default}

    def schedule(self, method: str = "") -> Schedule:
        """The window of NAG, or of another method by its prefix ("tpg_"): unit and ramp are shared, the cooldown
        follows NAG's end."""
        if method:
            start, end = getattr(self, f"{method}start"), getattr(self, f"{method}end")
            return Schedule(start, end, self.unit, self.ramp_steps)
        return Schedule(self.start, self.end, self.unit, self.ramp_steps, self.cooldown, self.cooldown_drop)
