"""``<name:arg:arg>`` tags of a prompt: parsed, removed, and handed to the network of that name (`networks`: LoRA)."""

from __future__ import annotations

import re
from collections import defaultdict

from modules import errors

extra_network_registry: dict = {}
extra_network_aliases: dict = {}
_TAG = re.compile(r"<(\w+):([^>]+)>")


class ExtraNetworkParams:
    """The arguments of one tag: ``items`` as written, split into positional and named."""

    def __init__(self, items=None):
        self.items = items or []
        self.positional, self.named = [], {}
        for item in self.items:
            key, equals, value = item.partition("=") if isinstance(item, str) else (item, "", "")
            if equals:
                self.named[key] = value
            else:
                self.positional.append(item)

    def __eq__(self, other):
        return self.items == other.items


class ExtraNetwork:
    """Base class; `activate` is called on every run, also with an empty list."""

    def __init__(self, name):
        self.name = name

    def activate(self, p, params_list):
        raise NotImplementedError

    def deactivate(self, p):
        raise NotImplementedError


def register_extra_network(extra_network) -> None:
    extra_network_registry[extra_network.name] = extra_network


def register_extra_network_alias(extra_network, alias) -> None:
    extra_network_aliases[alias] = extra_network


def parse_prompt(prompt: str):
    """(prompt without tags, {name: [ExtraNetworkParams]})."""
    found = defaultdict(list)

    def take(match):
        found[match.group(1)].append(ExtraNetworkParams(match.group(2).split(":")))
        return ""

    return _TAG.sub(take, prompt), found


def parse_prompts(prompts):
    """Every prompt without its tags, and the tags of the *first* prompt."""
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [prompt for prompt, _ in parsed], (parsed[0][1] if parsed else None)


def activate(p, extra_network_data) -> None:
    """Activate the mentioned networks, then all others with nothing, then tell the scripts."""
    data = extra_network_data or {}
    for name in data:
        if name not in extra_network_registry and name not in extra_network_aliases:
            p.comment(f"<{name}:...> in the prompt does nothing here: the Studio has no network of that kind.")
    for name, network in extra_network_registry.items():
        args = [
            a
            for key, found in data.items()
            for a in found
            if extra_network_registry.get(key, extra_network_aliases.get(key)) is network
        ]
        try:
            network.activate(p, args)
        except Exception as error:
            errors.display(error, f"activating extra network {name}")
    if p.scripts is not None:
        p.scripts.after_extra_networks_activate(
            p,
            batch_number=p.iteration,
            prompts=p.prompts,
            seeds=p.seeds,
            subseeds=p.subseeds,
            extra_network_data=extra_network_data,
        )


def deactivate(p, extra_network_data) -> None:
    for name, network in extra_network_registry.items():
        try:
            network.deactivate(p)
        except Exception as error:
            errors.display(error, f"deactivating extra network {name}")
