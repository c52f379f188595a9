"""Prompt editing: ``[from:to:when]`` and ``[a|b]`` become a list of (last step, text).

The language, as A1111 has it: a prompt is a sequence of plain text (a backslash escapes the next character),
``(x)``, ``(x:y)``, ``[x]``, ``[to:when]``, ``[from:to:when]`` and ``[a|b|...]``, each x, y, a, b again a
prompt. Unbalanced brackets and colons are text. A ``|`` outside brackets, or a backslash at the very end,
means that nothing at all is a schedule.

Items are found from the right end to the left, so that neither depth nor length of a prompt can exhaust
the stack.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
_WHEN = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\]")


@dataclass
class _Scheduled:
    before: list
    after: list
    when: str
    step: int = 0


@dataclass
class _Alternate:
    options: list


class _NotAPrompt(ValueError):
    pass


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.items: list[tuple[list, int] | None] = [None] * (len(text) + 1)
        self.plain_end: dict[int, int] = {m.start(): m.end() for m in _PLAIN.finditer(text)}
        starts = set(self.plain_end)
        for i in range(len(text) - 1, -1, -1):
            if i in starts:
                self.items[i] = ([text[i : self.plain_end[i]]], self.plain_end[i])
            elif text[i] == "(":
                self.items[i] = self._round(i)
            elif text[i] == "[":
                self.items[i] = self._square(i)

    def _prompt(self, i: int) -> tuple[list, int]:
        """The nodes from ``i`` on and where they end."""
        nodes: list = []
        while (item := self.items[i]) is not None:
            nodes += item[0]
            i = item[1]
        return nodes, i

    def _at(self, i: int) -> str:
        return self.text[i : i + 1]

    def _round(self, i: int):
        inner, j = self._prompt(i + 1)
        nodes = ["(", *inner]
        if self._at(j) == ":":
            second, j = self._prompt(j + 1)
            nodes += [":", *second]
        return ([*nodes, ")"], j + 1) if self._at(j) == ")" else None

    def _square(self, i: int):
        first, j = self._prompt(i + 1)
        char = self._at(j)
        if char == "]":
            return ["[", *first, "]"], j + 1
        if char == "|":
            return self._alternate(first, j)
        if char != ":":
            return None
        if when := _WHEN.match(self.text, j + 1):
            return [_Scheduled([], first, when.group(1))], when.end()
        second, j = self._prompt(j + 1)
        if self._at(j) == ":" and (when := _WHEN.match(self.text, j + 1)):
            return [_Scheduled(first, second, when.group(1))], when.end()
        return None

    def _alternate(self, first: list, j: int):
        options = [first]
        while self._at(j) == "|":
            option, j = self._prompt(j + 1)
            options.append(option)
        return ([_Alternate(options)], j + 1) if self._at(j) == "]" else None

    def parse(self) -> list:
        """All nodes. Raises _NotAPrompt where A1111's grammar has no reading."""
        nodes, i = [], 0
        while i < len(self.text):
            if (item := self.items[i]) is not None:
                nodes += item[0]
                i = item[1]
            elif self.text[i] in "[]():":
                nodes.append(self.text[i])
                i += 1
            else:
                raise _NotAPrompt(self.text)
        return nodes


def _walk(nodes: list):
    """Every scheduled and alternate node, outer ones first."""
    stack = [n for n in reversed(nodes) if not isinstance(n, str)]
    while stack:
        node = stack.pop()
        yield node
        inner = [node.before, node.after] if isinstance(node, _Scheduled) else node.options
        stack += [n for group in inner for n in group if not isinstance(n, str)]


def _render(nodes: list, step: int) -> str:
    out: list[str] = []
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            out.append(node)
        elif isinstance(node, _Scheduled):
            stack += reversed(node.before if step <= node.step else node.after)
        else:
            stack += reversed(node.options[(step - 1) % len(node.options)])
    return "".join(out)


def schedule(prompt: str, base_steps: int, hires_steps: int | None = None, use_old_scheduling: bool = False) -> list:
    """[[last step, text], ...] of one prompt; the last entry's step is the number of steps.

    ``when`` counts steps, or with a decimal point a fraction of them. In the hires pass (``hires_steps``
    given) steps count on after the first pass, and fractions are those above 1.
    """
    hires = hires_steps is not None and not use_old_scheduling
    steps = hires_steps if hires else base_steps
    try:
        nodes = _Parser(prompt).parse()
    except _NotAPrompt:
        return [[steps, prompt]]
    ends = {steps}
    for node in _walk(nodes):
        if isinstance(node, _Alternate):
            ends.update(range(1, steps + 1))
            continue
        value = float(node.when)
        if use_old_scheduling:
            value = value * steps if value < 1 else value
        elif "." in node.when:
            value = (value - (1.0 if hires else 0.0)) * steps
        else:
            value -= base_steps if hires else 0
        node.step = min(steps, int(max(min(value, 1e9), -1e9)))
        if node.step >= 1:
            ends.add(node.step)
    return [[end, _render(nodes, end)] for end in sorted(ends)]


def get_learned_conditioning_prompt_schedules(prompts, base_steps, hires_steps=None, use_old_scheduling=False) -> list:
    """`schedule` of every prompt."""
    known = {p: schedule(p, base_steps, hires_steps, use_old_scheduling) for p in set(prompts)}
    return [known[p] for p in prompts]
