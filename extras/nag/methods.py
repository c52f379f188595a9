"""The methods: which of them the settings switch on, each with its numbers, its layers and its window."""

from __future__ import annotations

from torch import nn

from .branches.identity import IdentityBranch
from .heads import check_heads, parse_heads
from .joint.find import Transformer, find_transformer
from .layers import Layer, LayerError, find_blocks, find_layers, select
from .method import NAG, Method
from .part import Part
from .predictions.attention import AttentionPerturbation
from .predictions.negative import NegativePrediction
from .predictions.tokens import TokenPerturbation
from .run import Run
from .settings import Settings

NAG_PAG, TPG, PAG, THREE_WAY = "NAG-PAG", "TPG", "PAG", "three-way"
METHODS = (NAG, NAG_PAG, TPG, PAG, THREE_WAY)
AUTO = "auto"


def nag_pag(settings: Settings, layers: list[Layer]) -> Method:
    """The same rule against identity attention, without a negative prompt: g = z_pos + s (z_pos - z_neg), so that
    s = 0 is off (and normalized_guidance's own scale is s + 1)."""
    scale, beta = settings.nag_pag_scale, settings.nag_pag_beta
    heads = parse_heads(settings.nag_pag_heads, "nag_pag_heads")
    where = chosen(settings.nag_pag_layers, middle_and_up(layers))
    rule = (scale + 1.0, scale, settings.nag_pag_tau, settings.nag_pag_alpha)
    window = settings.schedule("nag_pag_")
    return Method(NAG_PAG, lambda: IdentityBranch(beta, heads, "nag_pag_heads"), *rule, where, "nag_pag_layers", window)


def joint_parts(settings: Settings, transformer: Transformer, layers: list[Layer], strict: bool) -> list[Part]:
    """The same for a transformer with joint attention; TPG and PAG are methods for UNets."""
    from .joint.identity import IdentitySource
    from .joint.run import JointRun
    from .joint.text import TextSource

    parts: list[Part] = []
    if settings.nag:
        where = select(layers, settings.layers, "joint")
        rule = (settings.scale, settings.tau, settings.alpha)
        source = TextSource(transformer, settings.own_image)
        window, rest = settings.schedule(), (rule, settings.scale, strict, settings.adaptive, settings.fused)
        parts.append(JointRun(NAG, window, transformer, where, source, *rest))
    if settings.nag_pag_scale > 0:
        where = select(layers, chosen(settings.nag_pag_layers, late(layers)), "joint", "nag_pag_layers")
        heads = parse_heads(settings.nag_pag_heads, "nag_pag_heads")
        check_heads(heads, where, "nag_pag_heads")
        rule = (settings.nag_pag_scale + 1.0, settings.nag_pag_tau, settings.nag_pag_alpha)
        identity = IdentitySource(settings.nag_pag_beta, heads)
        about = (settings.schedule("nag_pag_"), transformer, where, identity, rule, settings.nag_pag_scale, strict)
        parts.append(JointRun(NAG_PAG, *about, settings.adaptive, settings.fused))
    for on, name in ((settings.tpg_scale > 0, "tpg_scale"), (settings.pag_scale > 0, "pag_scale")):
        if on:
            raise LayerError(f"{name}: this model is a transformer with joint attention; allowed: 0 (it is for UNets)")
    if settings.three_way_scale > 1:
        rule = (settings.three_way_scale, settings.three_way_tau, settings.three_way_alpha)
        parts.append(NegativePrediction(THREE_WAY, settings.schedule("three_way_"), *rule, strict))
    return parts


def late(layers: list[Layer]) -> str:
    """Three blocks with two streams, from the middle on: 8, 12 and 16 of Flux's 19, as in the seed of NAG-PAG."""
    count = sum(layer.notation.startswith("t") for layer in layers)
    return ",".join(dict.fromkeys(f"t{count * i // 19}" for i in (8, 12, 16)))


def parts_of(settings: Settings, model: nn.Module, strict: bool) -> list[Part]:
    """The methods switched on, those in attention space first. LayerError names the option that does not fit."""
    layers = find_layers(model)
    transformer = find_transformer(model)
    if transformer is not None:
        return joint_parts(settings, transformer, layers, strict)
    parts: list[Part] = []
    if settings.nag:
        parts.append(Run(settings, model, strict=strict, layers=layers))
    if settings.nag_pag_scale > 0:
        parts.append(Run(settings, model, strict=strict, how=nag_pag(settings, layers), layers=layers))
    if settings.tpg_scale > 0:
        parts.append(_tpg(settings, model, strict))
    if settings.pag_scale > 0:
        parts.append(_pag(settings, layers, strict))
    if settings.three_way_scale > 1:
        rule = (settings.three_way_scale, settings.three_way_tau, settings.three_way_alpha)
        parts.append(NegativePrediction(THREE_WAY, settings.schedule("three_way_"), *rule, strict))
    return parts


def candidates(method: str, model: nn.Module) -> tuple[list[Layer], str]:
    """(what a method can act on in this model, what it takes by itself, as a selector); ([], "") where it has no
    layers to choose, or is not for such a model."""
    layers = find_layers(model)
    if find_transformer(model) is not None:
        taken = {NAG: "all", NAG_PAG: late(layers)}.get(method, "")
        return (layers if taken else []), taken
    if method == TPG:
        blocks = find_blocks(model)
        return blocks, deep_down(blocks)
    kind, taken = {NAG: ("cross", "all"), NAG_PAG: ("self", middle_and_up(layers)), PAG: ("self", middle(layers))}.get(
        method, ("", "")
    )
    return [layer for layer in layers if layer.kind == kind], taken


def chosen(selector: str, default: str) -> str:
    """The selector, or the method's own choice for "auto"."""
    return default if selector.strip().lower() == AUTO else selector


def middle(layers: list[Layer]) -> str:
    """The middle of the UNet, as in the paper of PAG."""
    numbers = [int(layer.notation[1:]) for layer in layers if layer.notation.startswith("m")]
    return f"m0-m{max(numbers)}" if numbers else "all"


def middle_and_up(layers: list[Layer]) -> str:
    """The middle of the UNet and what follows: "middle and later layers", as the seed of NAG-PAG has it."""
    counts = {layer.notation[0]: int(layer.notation[1:]) for layer in layers}
    return ",".join(f"{path}0-{path}{counts[path]}" for path in "mu" if path in counts) or "all"


def deep_down(blocks: list[Layer]) -> str:
    """The last three quarters of the way down: d6-d23 in SDXL, as published for TPG; d2-d5 in SD 1.x and 2.x."""
    count = sum(block.notation.startswith("d") for block in blocks)
    return f"d{-(-count // 4)}-d{count - 1}" if count > 1 else "all"


def _tpg(settings: Settings, model: nn.Module, strict: bool) -> TokenPerturbation:
    blocks = find_blocks(model)
    where = select(blocks, chosen(settings.tpg_layers, deep_down(blocks)), "block", "tpg_layers")
    return TokenPerturbation(TPG, settings.schedule("tpg_"), where, settings.tpg_scale, strict)


def _pag(settings: Settings, layers: list[Layer], strict: bool) -> AttentionPerturbation:
    where = select(layers, chosen(settings.pag_layers, middle(layers)), "self", "pag_layers")
    heads = parse_heads(settings.pag_heads, "pag_heads")
    check_heads(heads, where, "pag_heads")
    window = settings.schedule("pag_")
    return AttentionPerturbation(PAG, window, where, settings.pag_scale, strict, settings.pag_beta, heads)
