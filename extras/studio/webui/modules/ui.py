"""What extensions reach for in `modules.ui`: paste fields and the token counter."""

from __future__ import annotations

import html

from modules import extra_networks, prompt_parser, sd_hijack, shared

txt2img_paste_fields: list = []
img2img_paste_fields: list = []


def _count(text: str, steps: int, styles, is_positive: bool) -> str:
    try:
        text, _ = extra_networks.parse_prompt(text or "")
        apply = (
            shared.prompt_styles.apply_styles_to_prompt
            if is_positive
            else shared.prompt_styles.apply_negative_styles_to_prompt
        )
        text = apply(text, styles or [])
        parts = prompt_parser.get_multicond_prompt_list([text])[1] if is_positive else [text]
        schedules = prompt_parser.get_learned_conditioning_prompt_schedules(parts, max(int(steps or 1), 1))
        prompts = [text for schedule in schedules for _, text in schedule]
        count, limit = max((sd_hijack.model_hijack.get_prompt_lengths(x) for x in prompts), key=lambda c: c[0])
    except Exception:
        count, limit = "?", "?"
    return f"<span class='gr-box gr-text-input'>{html.escape(str(count))}/{html.escape(str(limit))}</span>"


def update_token_counter(text, steps, styles=None, *, is_positive=True) -> str:
    """HTML of "tokens/limit" of a prompt."""
    return _count(text, steps, styles, is_positive)


def update_negative_prompt_token_counter(*args) -> str:
    return update_token_counter(*args, is_positive=False)


def gr_show(visible=True):
    return {"visible": visible, "__type__": "update"}
