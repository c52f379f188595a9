"""As much of Fooocus as a picture goes through, with a small network: which functions call which, where they look each
other up, what a model call is given, and when a refiner takes over."""

from __future__ import annotations

import itertools
import sys
from types import ModuleType, SimpleNamespace

import torch
from torch import nn

sys.path.append(str(__import__("pathlib").Path(__file__).resolve().parents[1] / "nag"))
import nag_tiny

TOKENS = 5


class Network(nn.Module):
    """An SD UNet behind the argument names of this host."""

    def __init__(self, seed):
        super().__init__()
        self.unet = nag_tiny.ldm()
        torch.manual_seed(seed)
        for parameter in self.unet.parameters():
            nn.init.normal_(parameter, std=0.15)

    def forward(self, x, timesteps=None, context=None, control=None, transformer_options=None, **rest):
        return self.unet(x, timesteps, context)


class ModelSampling:
    def __init__(self):
        abar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
        self.sigmas = ((1 - abar) / abar).sqrt().float()

    def timestep(self, sigma):
        return (self.sigmas.log() - torch.as_tensor(sigma).log().view(-1, 1)).abs().argmin(1).squeeze()


class Model:
    def __init__(self, seed):
        self.diffusion_model, self.model_sampling = Network(seed), ModelSampling()

    def apply_model(self, x, sigma, context, transformer_options):
        t = self.model_sampling.timestep(sigma).float().reshape(-1)
        scaled = x / (sigma.view(-1, 1, 1, 1) ** 2 + 1).sqrt()
        eps = self.diffusion_model(scaled, t, context=context, control=None, transformer_options=transformer_options)
        return x - sigma.view(-1, 1, 1, 1) * eps


def install(monkeypatch):
    """The modules under their own names for one test; returns what the test looks at and turns."""
    host = SimpleNamespace(model=Model(1), refiner=None, switch=-1, scales=[], calls=[], explode=None, unequal=False)
    samplers, hijack, pipeline = (ModuleType(n) for n in ("samplers", "sample_hijack", "default_pipeline"))

    def encode(text):
        generator = torch.Generator().manual_seed(sum(map(ord, text)))
        return torch.randn(1, TOKENS, nag_tiny.CONTEXT, generator=generator)

    def clip_encode(texts):
        return [[torch.cat([encode(text) for text in texts], 1), {"pooled_output": None}]]

    def sampling_function(model, x, timestep, uncond, cond, cond_scale, model_options=None, seed=None):
        if host.explode is not None and len(host.scales) == 2:
            raise host.explode
        host.scales.append(cond_scale)
        if cond_scale == 1:
            return calls(model, x, timestep, [(0, cond)])[0]
        there, away = calls(model, x, timestep, [(0, cond), (1, uncond)])
        return away + cond_scale * (there - away)

    def calls(model, x, sigma, parts):
        parts = parts[::-1]  # unconditional first
        groups = [[part] for part in parts] if host.unequal else [parts]
        out = {}
        for group in groups:
            kinds = [kind for kind, _ in group]
            host.calls.append(kinds)
            options = {"cond_or_uncond": kinds, "sigmas": sigma}
            rows = torch.cat([x] * len(group))
            context = torch.cat([context for _, context in group])
            answer = model.apply_model(rows, torch.cat([sigma] * len(group)), context, options)
            out.update(zip(kinds, answer.chunk(len(group)), strict=True))
        return [out[kind] for kind in sorted(out)]

    def sample_hacked(model, noise, positive, negative, cfg, device, sampler, sigmas, model_options=None, seed=None):
        x, walker = noise * sigmas[0], model
        for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
            if i == host.switch:
                walker = host.refiner
            denoised = samplers.sampling_function(
                walker, x, sigma.reshape(1), negative[0][0], positive[0][0], cfg, model_options={}, seed=seed
            )
            x = x + (x - denoised) / sigma * (after - sigma)
        return x

    def process_diffusion(positive_cond, negative_cond, steps, image_seed, cfg_scale=7.0):
        samplers.sample = hijack.sample_hacked  # anew for every pass, as core.ksampler does
        places = torch.linspace(999, 0, steps + 1).long()[:-1]
        sigmas = torch.cat([host.model.model_sampling.sigmas[places], torch.zeros(1)])
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(image_seed))
        with torch.no_grad():
            return samplers.sample(host.model, noise, positive_cond, negative_cond, cfg_scale, "cpu", None, sigmas)

    def clip_separate(cond, target_model=None, target_clip=None):
        assert target_model is host.refiner
        return [[c.clone(), p] for c, p in cond]

    samplers.sampling_function = sampling_function
    hijack.sample_hacked, hijack.clip_separate = sample_hacked, clip_separate
    pipeline.clip_encode, pipeline.process_diffusion = clip_encode, process_diffusion
    pipeline.final_unet, pipeline.final_clip = SimpleNamespace(model=host.model), None
    for name, module in {
        "modules": ModuleType("modules"), "modules.sample_hijack": hijack, "modules.default_pipeline": pipeline,
        "ldm_patched": ModuleType("ldm_patched"), "ldm_patched.modules": ModuleType("ldm_patched.modules"),
        "ldm_patched.modules.samplers": samplers,
    }.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            monkeypatch.setattr(sys.modules[parent], child, module, raising=False)
    host.samplers, host.hijack, host.pipeline, host.encode = samplers, hijack, pipeline, clip_encode
    return host
