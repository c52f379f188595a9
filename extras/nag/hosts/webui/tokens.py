"""The host's own token counter, for a text of ours."""

from __future__ import annotations

from collections.abc import Sequence


def count_tokens(text: str, steps: int, styles: Sequence[str]) -> str:
    """HTML of "tokens/room" of a negative prompt, e.g. 3/75, as the host shows it over its own box; "?/?" where it
    cannot tell (no model in memory). ``steps``: of the sampler, for prompts that change on the way."""
    from modules import ui

    try:
        return str(ui.update_negative_prompt_token_counter(text, steps, list(styles)))
    except Exception:  # a text half typed, or a model being loaded, must not end in an error box
        return "<span class='gr-box gr-text-input'>?/?</span>"
