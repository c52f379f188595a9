"""As much of SD.Next as a job goes through, around diffusers' own pipelines: which functions call which, with which
arguments, what is caught, and which methods of a script are called when (read at 058a7f0cf, 2026-07-14)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from diffusers import StableDiffusionImg2ImgPipeline

sys.path.append(str(Path(__file__).resolve().parents[1] / "nag"))
import nag_pipelines


def pipeline(folder):
    """A tiny random Stable Diffusion 1."""
    return nag_pipelines.sd(folder)


class Processing:
    """A job. What is in its ``comments`` is shown nowhere."""

    def __init__(self, **given):
        self.prompt, self.negative_prompt, self.styles = "a nerd", "", []
        self.batch_size, self.n_iter, self.seed, self.steps, self.cfg_scale, self.clip_skip = 1, 1, 7, 4, 1.0, 1
        self.enable_hr = self.is_hr_pass = self.is_refiner_pass = self.is_api = False
        self.prompt_attention, self.iteration, self.network_data = None, 0, {}
        self.extra_generation_params, self.override_settings = {}, {}
        self.comments = {}
        self.__dict__.update(given)

    def comment(self, text):
        self.comments[text] = 1


class PromptEmbedder:
    """A parser of its own: what comes out of it is not what the pipeline would encode."""

    def __init__(
        self, prompts, negative_prompts, steps, clip_skip, p,
        prompt_attention=None, prompt_mean_norm=None, diffusers_zeros_prompt_pad=None, te_pooled_embeds=None,
    ):  # fmt: skip
        self.asked = (prompts, negative_prompts, steps, clip_skip, prompt_attention)
        pipe = sys.modules["modules.shared"].sd_model
        self.found = {
            key: torch.cat([self.encode(pipe, text) for text in texts])
            for key, texts in (("prompt_embeds", prompts), ("negative_prompt_embeds", negative_prompts))
        }

    def encode(self, pipe, text):
        return 0.9 * pipe.encode_prompt(text, "cpu", 1, False)[0]

    def __call__(self, key, step=0):
        return self.found.get(key)


class Host:
    def __init__(self, monkeypatch, pipe):
        self.after, self.raised = [], []
        self.explode = self.interrupt_at = None
        self.embedders = []
        state = SimpleNamespace(interrupted=False, skipped=False)
        shared = ModuleType("modules.shared")
        shared.sd_model, shared.state = pipe, state
        shared.opts = SimpleNamespace(prompt_attention="native")
        shared.prompt_styles = SimpleNamespace(apply_negative_styles_to_prompt=lambda text, styles: text)
        diffusion = ModuleType("modules.processing_diffusers")
        diffusion.set_pipeline_args = self.set_pipeline_args
        parser = ModuleType("modules.prompt_parser_diffusers")
        parser.PromptEmbedder = self.embedder
        parser.get_prompt_schedule = lambda text, steps: ([text], "[" in text)
        data = ModuleType("modules.modeldata")
        data.model_data = SimpleNamespace(sd_model=pipe)
        package = ModuleType("modules")
        monkeypatch.setitem(sys.modules, "modules", package)
        for name, module in {
            "shared": shared, "processing_diffusers": diffusion, "prompt_parser_diffusers": parser, "modeldata": data,
        }.items():  # fmt: skip
            monkeypatch.setitem(sys.modules, f"modules.{name}", module)
            setattr(package, name, module)
        self.shared, self.diffusion, self.state, self.pipe = shared, diffusion, state, pipe

    def on_after_process(self, callback):
        self.after.append(callback)

    def embedder(self, *args, **kwargs):
        made = PromptEmbedder(*args, **kwargs)
        self.embedders.append(made)
        return made

    def set_pipeline_args(
        self, p, model, prompts, negative_prompts, prompts_2=None, negative_prompts_2=None,
        prompt_attention=None, desc="", **kwargs,
    ):  # fmt: skip
        embedder = PromptEmbedder(prompts, negative_prompts, p.steps, p.clip_skip, p)
        generators = [torch.Generator().manual_seed(seed) for seed in p.seeds]
        args = {
            "prompt_embeds": embedder("prompt_embeds"), "negative_prompt_embeds": embedder("negative_prompt_embeds"),
            "generator": generators, "output_type": "latent", "callback_on_step_end": self.step_end,
            **{k: v for k, v in kwargs.items() if k in ("num_inference_steps", "guidance_scale", "image", "strength")},
        }  # fmt: skip
        return args if "image" in args else {**args, "width": 32, "height": 32}

    def step_end(self, pipe, step, timestep, kwargs):
        if step == self.interrupt_at:
            self.state.interrupted = True
            raise AssertionError("Interrupted...")
        if self.explode is not None and step == 1:
            raise self.explode
        return kwargs

    def draw(self, p, **more):
        model = self.shared.sd_model
        args = self.diffusion.set_pipeline_args(
            p=p, model=model, prompts=p.prompts, negative_prompts=p.negative_prompts,
            num_inference_steps=p.steps, guidance_scale=p.cfg_scale, clip_skip=p.clip_skip,
            prompt_attention=p.prompt_attention, desc="Hires" if p.is_hr_pass else "Base", **more,
        )  # fmt: skip
        try:
            return model(**args).images
        except AssertionError:
            return None
        except (ValueError, RuntimeError) as error:
            self.raised.append(error)
            self.state.interrupted = True
            return None

    def process_diffusers(self, p):
        kept = self.shared.sd_model
        latents = self.draw(p)
        if p.enable_hr and latents is not None:
            p.is_hr_pass = True
            self.shared.sd_model = StableDiffusionImg2ImgPipeline(**kept.components, requires_safety_checker=False)
            self.shared.sd_model.set_progress_bar_config(disable=True)
            latents = self.draw(p, image=torch.nn.functional.interpolate(latents, scale_factor=2), strength=0.5)
            p.is_hr_pass, self.shared.sd_model = False, kept
        return latents

    def process_images(self, p, script, args):
        """The latents of all batches; ``p.processed`` is what postprocess got, if it was called."""
        self.state.interrupted = False
        count, drawn = p.batch_size * p.n_iter, []
        p.processed = None
        script.before_process(p, *args)
        try:
            p.all_prompts, p.all_negative_prompts = [p.prompt] * count, [p.negative_prompt] * count
            p.all_seeds = [p.seed + i for i in range(count)]
            script.process(p, *args)
            for number in range(p.n_iter):
                p.iteration = number
                of_batch = slice(p.iteration * p.batch_size, (p.iteration + 1) * p.batch_size)
                p.prompts, p.negative_prompts = p.all_prompts[of_batch], p.all_negative_prompts[of_batch]
                p.seeds = p.all_seeds[of_batch]
                script.before_process_batch(p, *args, batch_number=p.iteration)
                latents = self.process_diffusers(p)
                if self.state.interrupted:
                    break
                script.postprocess_batch(p, *args, images=latents, batch_number=p.iteration)
                drawn.append(latents)
            if not self.state.interrupted:
                p.processed = SimpleNamespace(comments="", extra_generation_params=p.extra_generation_params)
                script.postprocess(p, p.processed, *args)
        finally:
            for callback in self.after:
                callback(p)
        return torch.cat(drawn) if drawn else None
