"""Classifier-free guidance around the model call, with A1111's rows.

The rows of a call are all conditional ones first (image 0's AND parts, image 1's, ...), then one
unconditional row per image. CFG 1 does not skip the unconditional rows.
"""

from __future__ import annotations

import torch

from modules import prompt_parser, sd_samplers_common, shared
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)
from modules.shared import opts, state


def catenate_conds(conds):
    if not isinstance(conds[0], dict):
        return torch.cat(conds)
    return prompt_parser.DictWithShape({key: torch.cat([x[key] for x in conds]) for key in conds[0]})


def subscript_cond(cond, a, b):
    if not isinstance(cond, dict):
        return cond[a:b]
    return prompt_parser.DictWithShape({key: value[a:b] for key, value in cond.items()})


def _with_tokens(cond, change):
    """``cond`` with ``change`` applied to its (rows, T, C) part; the original is left as it is."""
    if isinstance(cond, dict):
        return prompt_parser.DictWithShape({**cond, "crossattn": change(cond["crossattn"])})
    return change(cond)


def pad_cond(tensor, repeats, empty):
    """Add ``repeats`` empty chunks to every row."""
    return _with_tokens(tensor, lambda t: torch.cat([t, empty.repeat((t.shape[0], repeats, 1))], dim=1))


def make_condition_dict(c_crossattn, c_concat) -> dict:
    """What `apply_model` takes: SDXL's dict goes in flat."""
    if isinstance(c_crossattn, dict):
        return {**c_crossattn, "c_concat": [c_concat]}
    return {"c_crossattn": [c_crossattn], "c_concat": [c_concat]}


class CFGDenoiser(torch.nn.Module):
    """`forward(x, sigma, ...)` gives the guided prediction (B, 4, h, w).

    ``step`` counts its calls of this pass; ``total_steps`` is the expected number of calls, ``steps`` the
    number of sampling steps; in img2img and hires passes both are those of the shortened schedule.
    """

    def __init__(self, sampler):
        super().__init__()
        self.sampler = sampler
        self.model_wrap = None
        self.mask = self.nmask = self.init_latent = None
        self.steps = self.total_steps = None
        self.step = 0
        self.image_cfg_scale = None
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        self.p = None
        self.cond_scale_miltiplier = 1.0
        self.need_last_noise_uncond = False
        self.last_noise_uncond = None
        self.mask_before_denoising = False

    @property
    def inner_model(self):
        raise NotImplementedError

    def combine_denoised(self, x_out, conds_list, uncond, cond_scale):
        """uncond + sum over AND parts of weight * scale * (cond - uncond)."""
        denoised_uncond = x_out[-uncond.shape[0] :]
        denoised = torch.clone(denoised_uncond)
        for i, conds in enumerate(conds_list):
            for row, weight in conds:
                denoised[i] += (x_out[row] - denoised_uncond[i]) * (weight * cond_scale)
        return denoised

    def get_pred_x0(self, x_in, x_out, sigma):
        return x_out

    def update_inner_model(self):
        self.model_wrap = None
        c, uc = self.p.get_conds()
        self.sampler.sampler_extra_args["cond"] = c
        self.sampler.sampler_extra_args["uncond"] = uc

    def pad_cond_uncond(self, cond, uncond):
        empty = shared.sd_model.cond_stage_model_empty_prompt
        repeats = (cond.shape[1] - uncond.shape[1]) // empty.shape[1]
        if repeats < 0:
            cond = pad_cond(cond, -repeats, empty)
        elif repeats > 0:
            uncond = pad_cond(uncond, repeats, empty)
        self.padded_cond_uncond = self.padded_cond_uncond or repeats != 0
        return cond, uncond

    def pad_cond_uncond_v0(self, cond, uncond):
        """The old way: repeat uncond's last vector, or cut it."""
        tokens = cond.shape[1]

        def fit(t):
            short = tokens - t.shape[1]
            return torch.hstack([t, t[:, -1:].repeat(1, short, 1)]) if short > 0 else t[:, :tokens]

        self.padded_cond_uncond_v0 = True
        return cond, _with_tokens(uncond, fit)

    def _blend(self, latent, sigma):
        blended = latent * self.nmask + self.init_latent * self.mask
        if self.p.scripts is not None:
            from modules import scripts

            args = scripts.MaskBlendArgs(
                latent, self.nmask, self.init_latent, self.mask, blended, denoiser=self, sigma=sigma
            )
            self.p.scripts.on_mask_blend(self.p, args)
            blended = args.blended_latent
        return blended

    def _skips_uncond(self, sigma, s_min_uncond) -> bool:
        """Ignore the negative prompt early on, or below a sigma (NGMS, every second step unless "all")."""
        extra = self.p.extra_generation_params
        if opts.skip_early_cond != 0.0 and self.step / self.total_steps <= opts.skip_early_cond:
            extra["Skip Early CFG"] = opts.skip_early_cond
            return True
        if (self.step % 2 or opts.s_min_uncond_all) and s_min_uncond > 0 and sigma[0] < s_min_uncond:
            extra["NGMS"] = s_min_uncond
            if opts.s_min_uncond_all:
                extra["NGMS all steps"] = opts.s_min_uncond_all
            return True
        return False

    def _call(self, x_in, sigma_in, cond, image_cond):
        return self.inner_model(x_in, sigma_in, cond=make_condition_dict(cond, image_cond))

    def _call_all(self, x_in, sigma_in, image_cond_in, tensor, uncond, batch_size, skip_uncond):
        """The model call, or several: in slices of B rows without batch_cond_uncond; with different token
        counts, conds in slices of 2B (or B) and then all unconds."""
        if tensor.shape[1] == uncond.shape[1] or skip_uncond:
            cond_in = tensor if skip_uncond else catenate_conds([tensor, uncond])
            if opts.batch_cond_uncond:
                return self._call(x_in, sigma_in, cond_in, image_cond_in)
            x_out = torch.zeros_like(x_in)
            for a in range(0, x_out.shape[0], batch_size):
                b = a + batch_size
                x_out[a:b] = self._call(x_in[a:b], sigma_in[a:b], subscript_cond(cond_in, a, b), image_cond_in[a:b])
            return x_out
        x_out = torch.zeros_like(x_in)
        size = batch_size * 2 if opts.batch_cond_uncond else batch_size
        rows = tensor.shape[0]
        for a in range(0, rows, size):
            b = min(a + size, rows)
            x_out[a:b] = self._call(x_in[a:b], sigma_in[a:b], subscript_cond(tensor, a, b), image_cond_in[a:b])
        n = uncond.shape[0]
        x_out[-n:] = self._call(x_in[-n:], sigma_in[-n:], uncond, image_cond_in[-n:])
        return x_out

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond, uncond = (self.sampler.sampler_extra_args[name] for name in ("cond", "uncond"))
        conds_list, tensor = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising and self.mask is not None:
            x = self._blend(x, sigma)
        batch_size = len(conds_list)

        def rows_of(t):
            return torch.cat(
                [t[i : i + 1].expand(len(parts), *t.shape[1:]) for i, parts in enumerate(conds_list)] + [t]
            )

        params = CFGDenoiserParams(
            rows_of(x),
            rows_of(image_cond),
            rows_of(sigma),
            state.sampling_step,
            state.sampling_steps,
            tensor,
            uncond,
            self,
        )
        cfg_denoiser_callback(params)
        x_in, image_cond_in, sigma_in = params.x, params.image_cond, params.sigma
        tensor, uncond = params.text_cond, params.text_uncond

        skip_uncond = self._skips_uncond(sigma, s_min_uncond)
        if skip_uncond:
            x_in, sigma_in, image_cond_in = x_in[:-batch_size], sigma_in[:-batch_size], image_cond_in[:-batch_size]
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        if tensor.shape[1] != uncond.shape[1]:
            if opts.pad_cond_uncond_v0:
                tensor, uncond = self.pad_cond_uncond_v0(tensor, uncond)
            elif opts.pad_cond_uncond:
                tensor, uncond = self.pad_cond_uncond(tensor, uncond)
        x_out = self._call_all(x_in, sigma_in, image_cond_in, tensor, uncond, batch_size, skip_uncond)

        firsts = [parts[0][0] for parts in conds_list]
        if skip_uncond:  # the first cond row of each image stands in for the missing uncond row
            x_out = torch.cat([x_out, x_out[firsts]])
        denoised_params = CFGDenoisedParams(x_out, state.sampling_step, state.sampling_steps, self.inner_model)
        cfg_denoised_callback(denoised_params)
        if self.need_last_noise_uncond:
            self.last_noise_uncond = torch.clone(x_out[-uncond.shape[0] :])
        scale = 1.0 if skip_uncond else cond_scale * self.cond_scale_miltiplier
        denoised = self.combine_denoised(x_out, conds_list, uncond, scale)
        if not self.mask_before_denoising and self.mask is not None:
            denoised = self._blend(denoised, sigma)

        self.sampler.last_latent = self.get_pred_x0(x_in[firsts], x_out[firsts], sigma)
        if opts.live_preview_content == "Combined":
            preview = self.get_pred_x0(x_in[firsts], denoised, sigma)
        else:
            preview = self.sampler.last_latent
        sd_samplers_common.store_latent(preview)
        after = AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        return after.x
