"""The table of every option: type, default, range, words. Panel, infotext, API and settings read this one
table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .field import MAX_TEXT, Field, SettingsError

MAX_SIGMA = 1000.0


def _text(name: str, default: str, label: str, key: str, help: str, longest: int) -> Field:
    return Field(name, "str", default, label, help, key, maximum=longest)


def _number(name: str, default: float, span: tuple[float, float, float], label: str, key: str, help: str) -> Field:
    """``span``: lowest, highest, step. Whole numbers where the default is one."""
    kind = "int" if isinstance(default, int) else "float"
    return Field(name, kind, default, label, help, key, *span)


def _choice(name: str, choices: tuple[str, ...], label: str, key: str, help: str) -> Field:
    """The first choice is the default."""
    return Field(name, "choice", choices[0], label, help, key, choices=choices)


def _switch(name: str, label: str, key: str, help: str, default: bool = False) -> Field:
    return Field(name, "bool", default, label, help, key)


_SHARE = (0.0, 1.0, 0.01)


def _key(title: str) -> str:
    """Keys in metadata are letters, digits and spaces: "NAGPAG", "Three way"."""
    return title.replace("NAG-", "NAG").replace("-", " ")


def _scale(method: str, title: str, off: float, most: float, help: str) -> list[Field]:
    return [_number(f"{method}_scale", off, (off, most, 0.1), f"{title} scale", f"NAG {_key(title)} scale", help)]


def _rule(method: str, title: str) -> list[Field]:
    """tau and alpha of the normalised rule."""
    return [
        _number(
            f"{method}_tau", 2.5, (1.0, 10.0, 0.1), f"{title} tau", f"NAG {_key(title)} tau", "As tau of NAG, for this."
        ),
        _number(
            f"{method}_alpha",
            0.5,
            (0.0, 1.0, 0.005),
            f"{title} alpha",
            f"NAG {_key(title)} alpha",
            "As alpha of NAG, for this.",
        ),
    ]


def _perturbed(method: str, title: str, beta: float, help: str, where: str) -> list[Field]:
    """beta, heads, self-attention layers."""
    return [
        _number(f"{method}_beta", beta, (0.0, 1.0, 0.05), f"{title} beta", f"NAG {_key(title)} beta", help),
        _text(
            f"{method}_heads",
            "all",
            f"{title} heads",
            f"NAG {_key(title)} heads",
            "all, or numbers 0,3, or a range 0-3.",
            200,
        ),
        _layers(method, title, f"Self-attention layers; auto: {where}."),
    ]


def _layers(method: str, title: str, help: str) -> Field:
    return _text(f"{method}_layers", "auto", f"{title} layers", f"NAG {_key(title)} layers", help, 2000)


def _window(method: str, title: str) -> list[Field]:
    return [
        _number(f"{method}_start", 0.0, _SHARE, f"{title} start", f"NAG {_key(title)} start", "Acts from here on."),
        _number(f"{method}_end", 1.0, _SHARE, f"{title} end", f"NAG {_key(title)} end", "Acts until before this."),
    ]


_TABLE = (
    _switch("enabled", "Enable NAG", "NAG enabled", "Guide away from the NAG negative prompt."),
    _text(
        "negative",
        "",
        "NAG negative prompt",
        "NAG negative",
        "What must not appear; works at CFG 1.",
        MAX_TEXT,
    ),
    _number(
        "scale",
        3.0,
        (1.0, 20.0, 0.1),
        "Scale",
        "NAG scale",
        "How far from the negative: s, the paper's phi + 1.",
    ),
    _number("tau", 2.5, (1.0, 10.0, 0.1), "Tau", "NAG tau", "How much features may grow before they are limited."),
    _number("alpha", 0.5, (0.0, 1.0, 0.005), "Alpha", "NAG alpha", "Share of the guided features in the result."),
    _number("start", 0.0, _SHARE, "Start", "NAG start", "Guidance begins here; in sigma, 0 = from the first step."),
    _number("end", 1.0, _SHARE, "End", "NAG end", "Guidance ends before this; 1 includes the last step."),
    _choice(
        "unit",
        ("noise", "steps", "sigma"),
        "Unit",
        "NAG unit",
        "Start and end: share of noise, of steps, or sigma.",
    ),
    _number("ramp_steps", 0, (0, 100, 1), "Ramp steps", "NAG ramp", "Steps over which the strength grows to full."),
    _number(
        "cooldown",
        0.0,
        _SHARE,
        "Cooldown",
        "NAG cooldown",
        "For so much progress after the end, CFG is lowered.",
    ),
    _number(
        "cooldown_drop",
        0.2,
        (0.0, 1.0, 0.05),
        "CFG drop",
        "NAG cooldown drop",
        "In the cooldown: CFG x (1 - drop).",
    ),
    _text(
        "layers",
        "all",
        "Layers",
        "NAG layers",
        "all, or d0-d3, m0, d2.0-9, in08, names with *, !x leaves out, d4-d9=0.5 weakens.",
        2000,
    ),
    _choice(
        "empty_negative",
        ("guide", "skip", "host"),
        "Empty negative",
        "NAG empty negative",
        "An empty box: guide away from the empty prompt, skip guidance, or use the host's negative prompt.",
    ),
    _choice(
        "hires",
        ("both", "first", "second"),
        "Hires passes",
        "NAG hires",
        "Which passes of hires fix are guided.",
    ),
    _switch(
        "skip_uncond",
        "Skip the unused half at CFG 1",
        "NAG skip uncond",
        "Saves a pass the host runs for nothing.",
    ),
    # Appended: the order is that of positional arguments of the HTTP API.
    _switch("nag", "NAG", "NAG itself", "NAG in attention space; off: only the methods below.", True),
    *_scale("nag_pag", "NAG-PAG", 0.0, 10.0, "Away from identity attention, no negative prompt: 0 = off, 3."),
    *_rule("nag_pag", "NAG-PAG"),
    *_perturbed(
        "nag_pag",
        "NAG-PAG",
        1.0,
        "Identity's share in the negative branch; below 1: soft.",
        "the middle of the UNet and the way up",
    ),
    *_window("nag_pag", "NAG-PAG"),
    *_scale("tpg", "TPG", 0.0, 10.0, "Away from a prediction with permuted tokens: 0 = off, 3; costs a pass."),
    _choice(
        "tpg_mode",
        ("with CFG", "alone"),
        "TPG mode",
        "NAG TPG mode",
        "alone: CFG is off in the steps of TPG.",
    ),
    _layers("tpg", "TPG", "Transformer blocks; auto: d6-d23 in SDXL, d2-d5 in SD1.5."),
    *_window("tpg", "TPG"),
    *_scale("pag", "PAG", 0.0, 10.0, "Away from a prediction with identity attention: 0 = off, 3; costs a pass."),
    *_perturbed(
        "pag",
        "PAG",
        1.0,
        "Identity's share in the perturbed attention: 1 = PAG, 0.5 = SoftPAG.",
        "the middle of the UNet",
    ),
    *_window("pag", "PAG"),
    *_scale("three_way", "Three-way", 1.0, 20.0, "NAG on whole predictions, for any model: 1 = off; costs a pass."),
    *_rule("three_way", "Three-way"),
    *_window("three_way", "Three-way"),
    _switch("map", "Show where it acted", "NAG map", "Adds a picture: where guidance acted, and how strongly."),
    _number(
        "handoff_steps",
        0,
        (0, 50, 1),
        "Hand-off steps",
        "NAG handoff steps",
        "So many first steps are drawn by the model below: 0 = off, 1.",
    ),
    _text(
        "handoff_checkpoint",
        "",
        "Hand-off checkpoint",
        "NAG handoff checkpoint",
        "The base model of these steps, by name.",
        500,
    ),
    _text(
        "handoff_lora",
        "",
        "Hand-off LoRA",
        "NAG handoff LoRA",
        "Or: LoRAs of the prompt, off in these steps. Not in the Forge family.",
        500,
    ),
    _number(
        "handoff_cfg",
        7.0,
        (1.0, 30.0, 0.5),
        "Hand-off CFG",
        "NAG handoff CFG",
        "CFG scale of the base model, with the host's negative prompt.",
    ),
    _number(
        "adaptive",
        0.0,
        (0.0, 4.0, 0.1),
        "Adaptive",
        "NAG adaptive",
        "Eases off where positive and negative differ less than at first: 0 = off, 1.",
    ),
    _switch(
        "together",
        "Extra predictions in one call",
        "NAG together",
        "TPG, PAG, three-way in the host's own call: faster for small pictures, more memory.",
    ),
    _switch(
        "own_image",
        "Own image copy",
        "NAG own image",
        "Flux, Chroma: in single blocks the negative has an image copy of its own, as published; slower.",
    ),
    _switch(
        "fused",
        "Fused kernel",
        "NAG fused",
        "Compiles the rule: less overhead, the first run waits for the compiler; without one, as ever.",
    ),
)
GROUPS = {  # group -> its title in the panel, in the panel's order
    "nag": "Strength",
    "window": "When it acts",
    "advanced": "Layers and passes",
    "nag_pag": "NAG-PAG: without a negative prompt",
    "tpg": "TPG: token perturbation",
    "pag": "PAG and SoftPAG",
    "three_way": "Three-way: NAG on predictions",
    "handoff": "Hand-off: first steps on a base model",
}
_GROUP_OF = {
    **dict.fromkeys(("enabled", "negative", "nag", "scale", "tau", "alpha"), "nag"),
    **dict.fromkeys(("start", "end", "unit", "ramp_steps", "cooldown", "cooldown_drop"), "window"),
}
METHODS_WITH_WINDOW = ("nag_pag_", "tpg_", "pag_", "three_way_")
WINDOWS = ("", *METHODS_WITH_WINDOW)


def _group(name: str) -> str:
    if name in _GROUP_OF:
        return _GROUP_OF[name]
    return next((m[:-1] for m in (*METHODS_WITH_WINDOW, "handoff_") if name.startswith(m)), "advanced")


_EDGES = {w + edge for w in WINDOWS for edge in ("start", "end")}
FIELDS: dict[str, Field] = {
    f.name: replace(f, sigma_maximum=MAX_SIGMA if f.name in _EDGES else None, group=_group(f.name)) for f in _TABLE
}


def check_values(values: Mapping[str, object], base: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Validate a mapping of options; all errors at once. Unknown names are refused.

    ``base``: values of the fields not given, for the rules between fields (default: the table's defaults).
    Returns only what was given. Raises SettingsError.
    """
    if not isinstance(values, Mapping):
        raise SettingsError("settings", values, "an object with the fields " + ", ".join(FIELDS))
    errors: list[tuple[str, object, str]] = []
    result: dict[str, Any] = {}
    unit = str(values.get("unit", (base or {}).get("unit", "noise")))
    for name, value in values.items():
        if name not in FIELDS:
            errors.append((str(name), value, "one of the fields " + ", ".join(FIELDS)))
            continue
        try:
            result[name] = FIELDS[name].check(value, unit)
        except SettingsError as error:
            errors += error.errors
    if not errors and result:
        full = {n: f.default for n, f in FIELDS.items()} | dict(base or {}) | result
        errors += _between(full)
    if errors:
        raise SettingsError(*errors[0], errors[1:])
    return result


def _between(full: dict[str, Any]) -> list[tuple[str, object, str]]:
    """Rules that need two fields."""
    return [error for window in WINDOWS for error in _between_edges(full, window)]


def _between_edges(full: dict[str, Any], window: str) -> list[tuple[str, object, str]]:
    start, end = full[f"{window}start"], full[f"{window}end"]
    if full["unit"] == "sigma":
        if 0 < start <= end:
            return [(f"{window}end", end, f"below start ({start:g}): sigma falls while sampling")]
        return []
    errors: list[tuple[str, object, str]] = []
    for name in (f"{window}start", f"{window}end"):
        if full[name] > 1:
            errors.append((name, full[name], FIELDS[name].allowed(full["unit"])))
    if not errors and end <= start:
        errors.append((f"{window}end", end, f"above start ({start:g}), at most 1"))
    return errors
