"""The Studio with the habits of Forge, reForge and Classic: how they call the network and what they leave out.

What is theirs: ``forge_objects`` with a patcher that is made anew for every pass; the rows of a model call in chunks,
unconditional first, told in ``transformer_options``; CFG 1 without an unconditional half, or even without an encoded
negative; sigmas instead of timesteps in the callback of DDIM; two calls of process_before_every_sampling in hires.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import nn

COND, UNCOND = 0, 1


class Network(nn.Module):
    """The diffusion model under the argument names of these hosts."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, timesteps=None, context=None, control=None, transformer_options=None, **rest):
        return self.unet(x, timesteps, encoder_hidden_states=context).sample


class Patcher:
    """``model_options`` are a copy in every clone, the model is the same."""

    def __init__(self, model, options=None):
        self.model, self.model_options = model, dict(options or {})

    def clone(self):
        return Patcher(self.model, self.model_options)


class ForgeFamily:
    """Installed into a running Studio for one test. ``calls``: cond_or_uncond of each model call; ``tiles``: into how
    many the picture is cut; ``scales``: CFG of each evaluation; ``prepared``: patchers made ready for sampling."""

    def __init__(self, engine, monkeypatch):
        from extras.studio.model import StudioModel
        from modules import sd_samplers_cfg_denoiser, sd_samplers_common, sd_samplers_timesteps

        self.engine, self.monkeypatch = engine, monkeypatch
        self.tiles, self.calls, self.scales, self.prepared = 1, [], [], []
        self.options, self.own_options = None, {}
        self.before_evaluation = lambda denoiser: None
        self.after_calls = lambda cond, uncond, x, sigma: None
        self.adopt(engine.model)
        monkeypatch.setattr(StudioModel, "apply_model", lambda model, x, t, cond: self.apply_model(model, x, t, cond))
        monkeypatch.setattr(
            sd_samplers_cfg_denoiser.CFGDenoiser, "forward", lambda denoiser, *a, **k: self.evaluate(denoiser, *a, **k)
        )
        monkeypatch.setattr(
            sd_samplers_timesteps.CFGDenoiserTimesteps, "classic_ddim_eps_estimation", True, raising=False
        )
        monkeypatch.setattr(
            sd_samplers_common, "sampling_prepare", lambda unet, x: self.prepared.append(unet), raising=False
        )

    @property
    def network(self):
        return self.engine.model.forge_objects.unet.model.diffusion_model

    def adopt(self, model):
        """Give a loaded model these hosts' objects; its ``model`` is there and never called, as in Classic."""

        def never(*args, **kwargs):
            raise AssertionError("the network of these hosts is not called by way of sd_model.model")

        self.monkeypatch.setattr(model.model, "forward", never)
        unet = Patcher(SimpleNamespace(diffusion_model=Network(model.model.diffusion_model)))
        self.monkeypatch.setattr(model, "forge_objects", SimpleNamespace(unet=unet), raising=False)
        self.monkeypatch.setattr(model, "current_lora_hash", "[]", raising=False)

    def apply_model(self, model, x, t, cond):
        context = torch.cat(cond["c_crossattn"], 1)
        network = model.forge_objects.unet.model.diffusion_model
        if self.tiles == 1:
            return network(x, t, context=context, control=None, transformer_options=self.options)
        pieces = x.chunk(self.tiles, dim=3)  # tile-major, as tiled diffusion batches them
        out = network(
            torch.cat(pieces), t.repeat(self.tiles), context=context.repeat(self.tiles, 1, 1), control=None,
            transformer_options=self.options,
        )  # fmt: skip
        return torch.cat(out.chunk(self.tiles), dim=3)

    def evaluate(self, denoiser, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        from modules import prompt_parser, sd_samplers_common, shared
        from modules.script_callbacks import (
            AfterCFGCallbackParams,
            CFGDenoiserParams,
            cfg_after_cfg_callback,
            cfg_denoiser_callback,
        )

        state = shared.state
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        self.before_evaluation(denoiser)
        conds_list, tensor = prompt_parser.reconstruct_multicond_batch(cond, denoiser.step)
        uncond = None if cond_scale == 1 else prompt_parser.reconstruct_cond_batch(uncond, denoiser.step)
        told = sigma
        if getattr(denoiser, "classic_ddim_eps_estimation", False):
            abar = shared.sd_model.alphas_cumprod
            told = (((1 - abar) / abar) ** 0.5)[sigma.round().long()]
        params = CFGDenoiserParams(x, image_cond, told, state.sampling_step, 0, tensor, uncond, denoiser)
        cfg_denoiser_callback(params)
        unet = shared.sd_model.forge_objects.unet
        scale, uncond, x = cond_scale, params.text_uncond, params.x
        arguments = (unet.model, x, told, uncond, tensor, scale, unet.model_options, 0)
        for modifier in unet.model_options.get("conditioning_modifiers", []):
            arguments = modifier(*arguments)
        scale = arguments[5]
        self.scales.append(scale)

        by_part = zip(*conds_list, strict=True)
        parts = [(COND, rows_of(tensor, [row for row, _ in part]), part[0][1]) for part in by_part]
        if not math.isclose(scale, 1.0):
            parts.append((UNCOND, uncond, 1.0))
        sums = {COND: (torch.zeros_like(x), 0.0), UNCOND: (torch.zeros_like(x), 1e-37)}
        while parts:
            together = [part for part in reversed(parts) if part[1].shape == parts[0][1].shape]
            parts = [part for part in parts if not any(part is other for other in together)]
            for (kind, _, weight), out in zip(
                together, self._call(denoiser, together, x, sigma, image_cond), strict=True
            ):
                total, weights = sums[kind]
                sums[kind] = (total + weight * out, weights + weight)
        self.after_calls(tensor, uncond, x, sigma)
        good, bad = (total / weights for total, weights in (sums[COND], sums[UNCOND]))
        strength = sum(weight for _, weight in conds_list[0])
        denoised = bad + (good - bad) * (scale * strength)
        denoiser.sampler.last_latent = denoised
        after = AfterCFGCallbackParams(denoised, state.sampling_step, 0)
        cfg_after_cfg_callback(after)
        denoiser.step += 1
        return after.x

    def _call(self, denoiser, parts, x, sigma, image_cond):
        from modules.sd_samplers_cfg_denoiser import make_condition_dict

        n = len(parts)
        self.options = {**self.own_options, "cond_or_uncond": [kind for kind, _, _ in parts], "sigmas": sigma}
        self.calls.append(self.options["cond_or_uncond"])
        cond = make_condition_dict(torch.cat([context for _, context, _ in parts]), torch.cat([image_cond] * n))
        return denoiser.inner_model(torch.cat([x] * n), torch.cat([sigma] * n), cond=cond).chunk(n)


def rows_of(cond, rows):
    """Some rows of the conds, which are a dict in some models."""
    if not isinstance(cond, dict):
        return cond[rows]
    return type(cond)({key: value[rows] for key, value in cond.items()})
