"""Prompt styles: pieces of prompt kept under a name."""

from __future__ import annotations

from typing import NamedTuple


class PromptStyle(NamedTuple):
    name: str
    prompt: str | None
    negative_prompt: str | None
    path: str | None = None


def merge_prompts(style_prompt: str, prompt: str) -> str:
    """A style containing {prompt} wraps the prompt; any other is put after it."""
    if "{prompt}" in style_prompt:
        return style_prompt.replace("{prompt}", prompt)
    return ", ".join(part for part in (prompt.strip(), style_prompt.strip()) if part)


def apply_styles_to_prompt(prompt: str, styles: list[str]) -> str:
    for style in styles:
        prompt = merge_prompts(style, prompt)
    return prompt


class StyleDatabase:
    """Styles held in memory. Unknown names count as empty, as in A1111."""

    def __init__(self, paths=()):
        self.no_style = PromptStyle("None", "", "")
        self.styles: dict[str, PromptStyle] = {}

    def add(self, name: str, prompt: str = "", negative_prompt: str = "") -> None:
        self.styles[name] = PromptStyle(name, prompt, negative_prompt)

    def get_style_prompts(self, styles):
        return [self.styles.get(x, self.no_style).prompt for x in styles]

    def get_negative_style_prompts(self, styles):
        return [self.styles.get(x, self.no_style).negative_prompt for x in styles]

    def apply_styles_to_prompt(self, prompt, styles):
        return apply_styles_to_prompt(prompt, self.get_style_prompts(styles))

    def apply_negative_styles_to_prompt(self, prompt, styles):
        return apply_styles_to_prompt(prompt, self.get_negative_style_prompts(styles))

    def extract_styles_from_prompt(self, prompt, negative_prompt):
        return [], prompt, negative_prompt

    def reload(self):
        pass
