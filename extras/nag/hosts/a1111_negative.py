"""A1111: the NAG negative, encoded exactly as the host encodes its own negative prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
        text = _COMMENT.sub("\n", _COMMENT_LINE.sub("\n", text))
    text, tags = strip_tags(text)
    for warning in [_tags_out(tags)] if tags else []:
        _once(warnings, warning)
    slip = unbalanced(text)
    if slip:
        _once(warnings, f"NAG negative: {slip}")
    return text


def is_blank(text: str) -> bool:
    """True where nothing is left to guide away from: nothing, or only comments and tags."""
    return not strip_tags(_COMMENT.sub("\n", text))[0].strip(" ,\n\t")


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
        """Encode one text per image (or one for all) for the pass that ``p`` is in. Leaves no trace in the
        host."""
        from modules import prompt_parser, sd_samplers
        from modules.sd_hijack import model_hijack

        hires = bool(p.is_hr_pass)
        width, height = (p.hr_upscale_to_x, p.hr_upscale_to_y) if hires else (p.width, p.height)
        prompts = prompt_parser.SdConditioning(texts, width=width, height=height, is_negative_prompt=True)

        def total(name: str, steps: int) -> int:
            config = sd_samplers.find_sampler_config(name)
            return int(config.total_steps(steps)) if config else steps

        first = getattr(p, "firstpass_steps", None) or total(p.sampler_name, p.steps)
        hires_steps = (
            total(p.hr_sampler_name or p.sampler_name, p.hr_second_pass_steps or p.steps) if hires else None
        )
        networks = p.hr_extra_network_data if hires else p.extra_network_data
        extra = {
            k: dict(v) if isinstance(v, dict) else v for k, v in model_hijack.extra_generation_params.items()
        }
        comments, own = list(model_hijack.comments), dict(p.extra_generation_params)
        try:
            self._schedules = p.get_conds_with_caching(
                prompt_parser.get_learned_conditioning, prompts, first, [self._cache], networks, hires_steps
            )
        finally:
            model_hijack.extra_generation_params, model_hijack.comments = extra, comments
            p.extra_generation_params.clear()
            p.extra_generation_params.update(own)

    @property
    def scheduled(self) -> bool:
        """True where a negative changes during sampling ([a:b:.5])."""
        return any(len(schedule) > 1 for schedule in self._schedules)

    def contexts(self, step: int) -> list[Tensor]:
        """A (tokens, channels) tensor per image for the ``step``-th model call of the pass; lengths may
        differ."""
        from modules import prompt_parser

        result = []
        for schedule in self._schedules:
            cond = prompt_parser.reconstruct_cond_batch([schedule], step)
            result.append((cond["crossattn"] if isinstance(cond, dict) else cond)[0])
        return result


def _tags_out(tags: Sequence[str]) -> str:
    return "tags have no effect in a negative prompt and were taken out of the NAG negative: " + " ".join(
        tags
    )


def _once(warnings: list[str], text: str) -> None:
    if text not in warnings:
        warnings.append(text)
