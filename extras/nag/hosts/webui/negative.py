"""The NAG negative, encoded exactly as the host encodes its own negative prompt."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

_COMMENT_LINE = re.compile(r"(^|\n)#[^\n]*(\n|$)")
_COMMENT = re.compile(r"#[^\n]*(\n|$)")
_TAG = re.compile(r"<\w+:[^>]+>")
_PAIRS = {"(": ")", "[": "]"}
_SLIP = "'{0}' {1}; allowed: pairs ( ) and [ ], or \\{0} for the character"


def prepare_text(p: Any, text: str, warnings: list[str]) -> str:
    """The text as the host would have it before encoding: comments and extra-network tags out, styles in.

    What is taken out or looks like a slip goes into ``warnings``.
    """
    from modules import shared

    text = shared.prompt_styles.apply_negative_styles_to_prompt(text, p.styles or [])
    if getattr(shared.opts, "enable_prompt_comments", True):
        text = without_comments(text)
    text, tags = strip_tags(text)
    for warning in [_tags_out(tags)] if tags else []:
        _once(warnings, warning)
    slip = unbalanced(text)
    if slip:
        _once(warnings, f"NAG negative: {slip}")
    return text


def is_blank(text: str) -> bool:
    """True where nothing is left to guide away from: nothing, or only comments and tags."""
    return not strip_tags(without_comments(text))[0].strip(" ,\n\t")


def without_comments(text: str) -> str:
    """The text without # comments, or by the host's own rule where it has another."""
    own = getattr(sys.modules.get("modules.processing_scripts.comments"), "strip_comments", None)
    return str(own(text)) if own else _COMMENT.sub("\n", _COMMENT_LINE.sub("\n", text))


def strip_tags(text: str) -> tuple[str, list[str]]:
    """(text without <lora:...> and the like, the tags). In a negative prompt the host takes them for
    words."""
    return _TAG.sub("", text), _TAG.findall(text)


def unbalanced(text: str) -> str:
    """What is wrong with the round and square brackets of a prompt, in words; "" when they balance. Like the
    host, it counts the two kinds apart and lets a backslash make a bracket a character."""
    bare = re.sub(r"\\.", "", text, flags=re.DOTALL)
    for opening, closing in _PAIRS.items():
        depth = 0
        for char in bare:
            depth += (char == opening) - (char == closing)
            if depth < 0:
                return _SLIP.format(closing, "closes nothing and is taken as a character")
        if depth:
            return _SLIP.format(opening, "is never closed, its weight lasts to the end")
    return ""


class NegativeEncoder:
    """The negatives of one batch as schedules, and the contexts of a step.

    A private cache: the host's own ignores that a text is a negative prompt.
    """

    def __init__(self) -> None:
        self._cache: list[Any] = [None, None]
        self._schedules: list[Any] = []

    def encode(self, p: Any, texts: Sequence[str]) -> None:
        """Encode one text per image (or one for all) for the pass that ``p`` is in. Leaves no trace in the host."""
        from modules import prompt_parser, sd_samplers

        hires = bool(p.is_hr_pass)
        width, height = (p.hr_upscale_to_x, p.hr_upscale_to_y) if hires else (p.width, p.height)
        extra = {}
        if hasattr(p, "distilled_cfg_scale"):  # Forge: part of the conditioning of some models
            extra["distilled_cfg_scale"] = p.hr_distilled_cfg if hires else p.distilled_cfg_scale
        prompts = prompt_parser.SdConditioning(texts, width=width, height=height, is_negative_prompt=True, **extra)

        def total(name: str, steps: int) -> int:
            config = sd_samplers.find_sampler_config(name)
            return int(config.total_steps(steps)) if config else steps

        first = getattr(p, "firstpass_steps", None) or total(p.sampler_name, p.steps)
        hires_steps = total(p.hr_sampler_name or p.sampler_name, p.hr_second_pass_steps or p.steps) if hires else None
        networks = p.hr_extra_network_data if hires else p.extra_network_data
        with _no_trace(p):
            self._schedules = p.get_conds_with_caching(
                prompt_parser.get_learned_conditioning, prompts, first, [self._cache], networks, hires_steps
            )

    def place(self, step: int) -> tuple[int, ...]:
        """Which of its texts each schedule ([a:b:.5]) is at in the ``step``-th model call of the pass."""
        return tuple(
            next((i for i, entry in enumerate(schedule) if step <= entry.end_at_step), 0)
            for schedule in self._schedules
        )

    def contexts(self, step: int) -> list[Tensor]:
        """A (tokens, channels) tensor per image for the ``step``-th model call of the pass; lengths may
        differ."""
        conds = self._conds(step)
        return [(cond["crossattn"] if isinstance(cond, dict) else cond)[0] for cond in conds]

    def pooled(self, step: int) -> list[Tensor] | None:
        """(channels,) of the other encoder, likewise; None for a model that has none."""
        vectors = [cond.get("vector") for cond in self._conds(step) if isinstance(cond, dict)]
        found = [vector[0] for vector in vectors if vector is not None]
        return found if found and len(found) == len(self._schedules) else None

    def _conds(self, step: int) -> list[Any]:
        from modules import prompt_parser

        return [prompt_parser.reconstruct_cond_batch([schedule], step) for schedule in self._schedules]


@contextlib.contextmanager
def _no_trace(p: Any) -> Iterator[None]:
    """What an encoding notes for infotext and console is that of the host's own prompts alone."""
    model_hijack: Any = getattr(sys.modules.get("modules.sd_hijack"), "model_hijack", None)  # Forge Neo has none
    noted = [o for o in (p, p.sd_model, model_hijack) if isinstance(getattr(o, "extra_generation_params", None), dict)]
    params = [(o.extra_generation_params, _copy(o.extra_generation_params)) for o in noted]
    commented = [o for o in (p.sd_model, model_hijack) if isinstance(getattr(o, "comments", None), list)]
    comments = [(o, list(o.comments)) for o in commented]
    try:
        yield
    finally:
        for mapping, before in params:
            mapping.clear()
            mapping.update(before)
        for owner, lines in comments:
            owner.comments = lines


def _copy(params: dict[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in params.items()}


def _tags_out(tags: Sequence[str]) -> str:
    return "tags have no effect in a negative prompt and were taken out of the NAG negative: " + " ".join(tags)


def _once(warnings: list[str], text: str) -> None:
    if text not in warnings:
        warnings.append(text)
