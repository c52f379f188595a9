"""The settings of a job as text, and the finished job. Import from `modules.processing`."""

from __future__ import annotations

import json

from modules import errors, infotext_utils, sd_samplers_common
from modules.shared import opts, state

VERSION = "nag-time-studio"


def program_version() -> str:
    return VERSION


def create_infotext(
    p,
    all_prompts,
    all_seeds,
    all_subseeds,
    comments=None,
    iteration=0,
    position_in_batch=0,
    use_main_prompt=False,
    index=None,
    all_negative_prompts=None,
) -> str:
    """Prompt, negative prompt and one line "Steps: 4, Sampler: Euler, ..." of picture ``index``.

    Values of `p.extra_generation_params` may be text, a list (one per picture) or a function that is called
    with the local names here (p, index, prompt_text, negative_prompt, ...). None leaves a field out.
    """
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    if all_negative_prompts is None:
        all_negative_prompts = p.all_negative_prompts
    prompt_text = p.main_prompt if use_main_prompt else all_prompts[index]
    negative_prompt = p.main_negative_prompt if use_main_prompt else all_negative_prompts[index]
    clip_skip = getattr(p, "clip_skip", opts.CLIP_stop_at_last_layers)
    varied = p.subseed_strength != 0
    ensd = (
        opts.eta_noise_seed_delta
        if opts.eta_noise_seed_delta and sd_samplers_common.is_sampler_using_eta_noise_seed_delta(p)
        else None
    )
    resized = p.seed_resize_from_w > 0 and p.seed_resize_from_h > 0
    generation_params = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Image CFG scale": getattr(p, "image_cfg_scale", None),
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model_hash if opts.add_model_hash_to_info else None,
        "Model": p.sd_model_name if opts.add_model_name_to_info else None,
        "Variation seed": (p.all_subseeds[0] if use_main_prompt else all_subseeds[index]) if varied else None,
        "Variation seed strength": p.subseed_strength if varied else None,
        "Seed resize from": f"{p.seed_resize_from_w}x{p.seed_resize_from_h}" if resized else None,
        "Denoising strength": p.extra_generation_params.get("Denoising strength"),
        "Clip skip": clip_skip if clip_skip > 1 else None,
        "ENSD": ensd,
        "Init image hash": getattr(p, "init_img_hash", None),
        "RNG": opts.randn_source if opts.randn_source != "GPU" else None,
        **p.extra_generation_params,
        "Version": program_version() if opts.add_version_to_infotext else None,
        "User": p.user if opts.add_user_name_to_info else None,
    }
    for key, value in generation_params.items():
        try:
            if isinstance(value, list):
                generation_params[key] = value[index]
            elif callable(value):
                generation_params[key] = value(**locals())
        except Exception:
            errors.report(f'Error creating infotext for key "{key}"', exc_info=True)
            generation_params[key] = None
    line = ", ".join(
        k if k == v else f"{k}: {infotext_utils.quote(v)}" for k, v in generation_params.items() if v is not None
    )
    negative_text = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt_text}{negative_text}\n{line}".strip()


def _one(value, default=-1):
    value = value[0] if isinstance(value, list) else value
    return default if value is None else value


class Processed:
    """The finished job: `images` with their `infotexts`, and everything that made them."""

    _JS = (
        "seed",
        "all_seeds",
        "subseed",
        "all_subseeds",
        "subseed_strength",
        "width",
        "height",
        "sampler_name",
        "cfg_scale",
        "steps",
        "batch_size",
        "restore_faces",
        "face_restoration_model",
        "sd_model_name",
        "sd_model_hash",
        "sd_vae_name",
        "sd_vae_hash",
        "seed_resize_from_w",
        "seed_resize_from_h",
        "denoising_strength",
        "extra_generation_params",
        "index_of_first_image",
        "infotexts",
        "styles",
        "job_timestamp",
        "clip_skip",
        "is_using_inpainting_conditioning",
        "version",
    )

    def __init__(
        self,
        p,
        images_list,
        seed=-1,
        info="",
        subseed=None,
        all_prompts=None,
        all_negative_prompts=None,
        all_seeds=None,
        all_subseeds=None,
        index_of_first_image=0,
        infotexts=None,
        comments="",
    ):
        self.images = images_list
        self.info = info
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        for name in (
            "width",
            "height",
            "sampler_name",
            "cfg_scale",
            "steps",
            "batch_size",
            "restore_faces",
            "sd_model_name",
            "sd_model_hash",
            "sd_vae_name",
            "sd_vae_hash",
            "seed_resize_from_w",
            "seed_resize_from_h",
            "extra_generation_params",
            "styles",
            "eta",
            "ddim_discretize",
            "s_churn",
            "s_tmin",
            "s_tmax",
            "s_noise",
            "s_min_uncond",
            "sampler_noise_scheduler_override",
            "subseed_strength",
            "is_using_inpainting_conditioning",
        ):
            setattr(self, name, getattr(p, name))
        self.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.denoising_strength = getattr(p, "denoising_strength", None)
        self.face_restoration_model = None
        self.token_merging_ratio = self.token_merging_ratio_hr = 0
        self.index_of_first_image = index_of_first_image
        self.job_timestamp = state.job_timestamp
        self.clip_skip = opts.CLIP_stop_at_last_layers
        self.prompt, self.negative_prompt = _one(p.prompt, ""), _one(p.negative_prompt, "")
        self.seed, self.subseed = int(_one(seed)), int(_one(subseed))
        self.all_prompts = all_prompts or p.all_prompts or [self.prompt]
        self.all_negative_prompts = all_negative_prompts or p.all_negative_prompts or [self.negative_prompt]
        self.all_seeds = all_seeds or p.all_seeds or [self.seed]
        self.all_subseeds = all_subseeds or p.all_subseeds or [self.subseed]
        self.infotexts = infotexts or [info] * len(images_list)
        self.version = program_version()

    def js(self) -> str:
        """The JSON of the API's ``info``; "comments" (warnings to the user) are the Studio's own addition."""
        obj = {
            "prompt": self.all_prompts[0],
            "all_prompts": self.all_prompts,
            "negative_prompt": self.all_negative_prompts[0],
            "all_negative_prompts": self.all_negative_prompts,
        }
        obj |= {name: getattr(self, name) for name in self._JS}
        obj["comments"] = [line for line in self.comments.splitlines() if line]
        return json.dumps(obj, default=lambda o: None)

    def infotext(self, p, index) -> str:
        return create_infotext(
            p,
            self.all_prompts,
            self.all_seeds,
            self.all_subseeds,
            comments=[],
            position_in_batch=index % self.batch_size,
            iteration=index // self.batch_size,
        )

    def get_token_merging_ratio(self, for_hr=False):
        return 0
