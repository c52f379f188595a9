"""From prompt texts to conditionings, and back to the tensor of one step."""

from __future__ import annotations

import re
from collections import namedtuple

import torch

from modules.prompt_attention import parse_prompt_attention, re_attention, re_break  # noqa: F401
from modules.prompt_schedule import get_learned_conditioning_prompt_schedules

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])
"""A conditioning, (T, C) or for SDXL {crossattn: (T, C), vector: (V,)}, valid up to that step."""

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"^((?:\s|.)*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$")


class SdConditioning(list):
    """Prompts with what SDXL also needs: picture size in pixels and whether they are negative prompts."""

    def __init__(self, prompts, is_negative_prompt=False, width=None, height=None, copy_from=None):
        super().__init__(prompts)
        source = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
        self.width = width or getattr(source, "width", None)
        self.height = height or getattr(source, "height", None)


class ComposableScheduledPromptConditioning:
    """One AND part: its schedule and its weight."""

    def __init__(self, schedules, weight=1.0):
        self.schedules, self.weight = schedules, weight


class MulticondLearnedConditioning:
    """``batch[i]`` lists the AND parts of image i."""

    def __init__(self, shape, batch):
        self.shape, self.batch = shape, batch


class DictWithShape(dict):
    """SDXL's conditioning, with the shape of its cross-attention part."""

    def __init__(self, x, shape=None):
        super().__init__(x)

    @property
    def shape(self):
        return self["crossattn"].shape


def get_learned_conditioning(model, prompts, steps, hires_steps=None, use_old_scheduling=False) -> list:
    """For each prompt, its schedule of `ScheduledPromptConditioning`."""
    schedules = get_learned_conditioning_prompt_schedules(prompts, steps, hires_steps, use_old_scheduling)
    known: dict[str, list] = {}
    for prompt, schedule in zip(prompts, schedules, strict=True):
        if prompt in known:
            continue
        conds = model.get_learned_conditioning(SdConditioning([text for _, text in schedule], copy_from=prompts))
        known[prompt] = [
            ScheduledPromptConditioning(
                end, {k: v[i] for k, v in conds.items()} if isinstance(conds, dict) else conds[i]
            )
            for i, (end, _) in enumerate(schedule)
        ]
    return [known[prompt] for prompt in prompts]


def get_multicond_prompt_list(prompts):
    """([[(index, weight)] per prompt], the distinct AND parts, {part: index})."""
    flat = SdConditioning([], copy_from=prompts)
    index_of: dict[str, int] = {}
    per_prompt = []
    for prompt in prompts:
        parts = []
        for part in _AND.split(prompt):
            text, weight = _WEIGHT.search(part).groups()
            if text not in index_of:
                index_of[text] = len(flat)
                flat.append(text)
            parts.append((index_of[text], 1.0 if weight is None else float(weight)))
        per_prompt.append(parts)
    return per_prompt, flat, index_of


def get_multicond_learned_conditioning(model, prompts, steps, hires_steps=None, use_old_scheduling=False):
    """As `get_learned_conditioning`, with the prompts split at AND ("a AND b :0.5")."""
    per_prompt, flat, _ = get_multicond_prompt_list(prompts)
    learned = get_learned_conditioning(model, flat, steps, hires_steps, use_old_scheduling)
    batch = [[ComposableScheduledPromptConditioning(learned[i], weight) for i, weight in parts] for parts in per_prompt]
    return MulticondLearnedConditioning((len(prompts),), batch)


def _at_step(schedule, step):
    """The conditioning valid at ``step``; beyond the last end, the first one (as A1111)."""
    for entry in schedule:
        if step <= entry.end_at_step:
            return entry.cond
    return schedule[0].cond


def reconstruct_cond_batch(c, current_step):
    """(B, T, C) of that step; every schedule of the batch must have the first one's length."""
    conds = [_at_step(schedule, current_step) for schedule in c]
    first = c[0][0].cond
    if isinstance(first, dict):
        res = {k: torch.zeros((len(c), *v.shape), device=v.device, dtype=v.dtype) for k, v in first.items()}
        for i, cond in enumerate(conds):
            for key, value in cond.items():
                res[key][i] = value
        return DictWithShape(res)
    res = torch.zeros((len(c), *first.shape), device=first.device, dtype=first.dtype)
    for i, cond in enumerate(conds):
        res[i] = cond
    return res


def stack_conds(tensors: list) -> torch.Tensor:
    """Stack (T, C) tensors; shorter ones are padded with their last vector."""
    longest = max(x.shape[0] for x in tensors)
    return torch.stack(
        [x if x.shape[0] == longest else torch.vstack([x, x[-1:].repeat(longest - x.shape[0], 1)]) for x in tensors]
    )


def reconstruct_multicond_batch(c, current_step):
    """([[(row, weight)] per image], (rows, T, C)): rows are image 0's AND parts, image 1's, and so on."""
    conds_list, tensors = [], []
    for parts in c.batch:
        rows = []
        for part in parts:
            rows.append((len(tensors), part.weight))
            tensors.append(_at_step(part.schedules, current_step))
        conds_list.append(rows)
    if isinstance(tensors[0], dict):
        return conds_list, DictWithShape(
            {
                k: stack_conds([x[k] for x in tensors])
                if tensors[0][k].ndim > 1
                else torch.stack([x[k] for x in tensors])
                for k in tensors[0]
            }
        )
    return conds_list, stack_conds(tensors)
