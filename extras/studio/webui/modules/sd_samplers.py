"""Finds samplers and schedulers by name."""

from __future__ import annotations

from extras.studio import samplers as table
from modules import sd_schedulers, shared
from modules.sd_samplers_common import (  # noqa: F401
    SamplerData,
    sample_to_image,
    samples_to_image_grid,
    single_sample_to_image,
)
from modules.sd_samplers_kdiffusion import KDiffusionSampler
from modules.sd_samplers_timesteps import CompVisSampler


def _data(spec) -> SamplerData:
    make = CompVisSampler if spec.family == table.FAMILY_TIMESTEPS else KDiffusionSampler
    return SamplerData(spec.name, lambda model: make(spec, model), spec.aliases, spec.options)


all_samplers = [_data(spec) for spec in table.SAMPLERS]
all_samplers_map = {x.name: x for x in all_samplers}
samplers = samplers_for_img2img = all_samplers
samplers_map = {alias.lower(): x.name for x in all_samplers for alias in [x.name, *x.aliases]}
samplers_hidden: set[str] = set()


class UnknownName(ValueError):
    """A sampler or scheduler that does not exist, or not for this model; the message lists those that do."""

    def __init__(self, field: str, value, allowed, why: str = "not found"):
        self.field, self.value, self.allowed = field, value, list(allowed)
        super().__init__(f"{field} {value!r} {why}; allowed are: {', '.join(self.allowed)}")


def find_sampler_config(name):
    return all_samplers[0] if name is None else all_samplers_map.get(name)


def create_sampler(name, model):
    """A fresh sampler. UnknownName when there is none of that name."""
    config = find_sampler_config(name)
    if config is None:
        raise UnknownName("Sampler", name, all_samplers_map)
    if getattr(model, "parameterization", None) == "flow" and config.name not in table.FOR_FLOWS:
        raise UnknownName("Sampler", name, table.FOR_FLOWS, "does not fit a flow model")
    sampler = config.constructor(model)
    sampler.config = config
    return sampler


def set_samplers():
    pass


def visible_sampler_names():
    hidden = set(shared.opts.hide_samplers)
    return [x.name for x in samplers if x.name not in hidden]


def visible_samplers():
    return [x for x in samplers if x.name in visible_sampler_names()]


def split_sampler_and_scheduler(name: str | None, scheduler: str | None) -> tuple[str, str]:
    """("Euler", "Karras") from "Euler Karras", an alias or any case. UnknownName if either is unknown."""
    name = name or all_samplers[0].name
    labels = [(s, n) for s in sd_schedulers.schedulers for n in (s.label, s.name, *(s.aliases or []))]
    wanted = scheduler or "Automatic"
    found = next((s for s, n in labels if n.lower() == str(wanted).lower()), None)
    if found is None:
        raise UnknownName("Scheduler", scheduler, [s.label for s in sd_schedulers.schedulers])
    plain = samplers_map.get(name.lower())
    if plain is None:
        for s, n in labels:
            if name.lower().endswith(" " + n.lower()) and name[: -len(n) - 1].lower() in samplers_map:
                plain, found = samplers_map[name[: -len(n) - 1].lower()], s
                break
    if plain is None:
        raise UnknownName("Sampler", name, all_samplers_map)
    return plain, found.label


def get_sampler_and_scheduler(sampler_name, scheduler_name, *, convert_automatic=True):
    """As `split_sampler_and_scheduler`, but what is unknown becomes the default: as A1111 does with infotexts."""
    try:
        name, label = split_sampler_and_scheduler(sampler_name, scheduler_name)
    except UnknownName:
        try:
            name, label = split_sampler_and_scheduler(sampler_name, None)
        except UnknownName:
            name, label = all_samplers[0].name, "Automatic"
    default = all_samplers_map[name].options.get("scheduler")
    if convert_automatic and default is not None and sd_schedulers.schedulers_map[label].name == default:
        label = "Automatic"
    return name, label


def get_sampler_from_infotext(d: dict):
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[0]


def get_scheduler_from_infotext(d: dict):
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[1]


def get_hr_sampler_from_infotext(d: dict):
    return d.get("Hires sampler", "Use same sampler")


def get_hr_scheduler_from_infotext(d: dict):
    return d.get("Hires schedule type", "Use same scheduler")


def fix_p_invalid_sampler_and_scheduler(p):
    """Split "Euler Karras" as old infotexts write it. Unlike A1111, an unknown name is an error, not replaced."""
    p.sampler_name, p.scheduler = split_sampler_and_scheduler(p.sampler_name, p.scheduler)
