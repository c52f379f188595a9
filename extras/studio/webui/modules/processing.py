"""Runs a job: the order of everything that scripts can see is A1111's."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from extras.studio.fields import FieldError
from extras.studio.pipeline_folders import is_flow
from modules import devices, extra_networks, images, rng, scripts, sd_models, sd_samplers, shared
from modules.processing_base import (  # noqa: F401
    StableDiffusionProcessing,
    create_random_tensors,
    get_fixed_seed,
    opt_C,
    opt_f,
)
from modules.processing_infotext import Processed, create_infotext, program_version  # noqa: F401
from modules.rng import slerp  # noqa: F401
from modules.sd_hijack import model_hijack
from modules.sd_samplers_common import decode_first_stage, images_tensor_to_samples  # noqa: F401
from modules.shared import opts, state


class DecodedSamples(list):
    already_decoded = True


def decode_latent_batch(model, batch, target_device=None, check_for_nans=False) -> DecodedSamples:
    """Latents (B, 4, h, w) to a list of pictures (3, 8h, 8w) in [-1, 1], decoded one at a time."""
    samples = DecodedSamples()
    if check_for_nans:
        devices.test_for_nans(batch, "unet")
    for i in range(batch.shape[0]):
        sample = decode_first_stage(model, batch[i : i + 1])[0]
        if check_for_nans:
            devices.test_for_nans(sample, "vae")
        samples.append(sample if target_device is None else sample.to(target_device))
    return samples


def fix_seed(p) -> None:
    p.seed, p.subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)


def apply_overlay(image, paste_loc, overlay):
    """(picture with the untouched surroundings on top, the picture before that)."""
    if overlay is None:
        return image, image.copy()
    if paste_loc is not None:
        x, y, w, h = paste_loc
        base = Image.new("RGBA", overlay.size)
        base.paste(images.resize_image(1, image, w, h), (x, y))
        image = base
    before = image.copy()
    image = image.convert("RGBA")
    image.alpha_composite(overlay)
    return image.convert("RGB"), before


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Run the job. `override_settings` hold during the run and are taken back, whatever happens."""
    if p.scripts is not None:
        p.scripts.before_process(p)
    stored = {k: opts.data.get(k, opts.get_default(k)) for k in p.override_settings if k in opts.data}
    wanted = p.override_settings.get("sd_model_checkpoint")
    try:
        if wanted is not None and sd_models.get_closet_checkpoint_match(wanted) is None:
            p.comment(f"Checkpoint {wanted!r} was not found: the loaded one was used.")
            p.override_settings.pop("sd_model_checkpoint")
        for key, value in p.override_settings.items():
            if key not in opts.data:
                p.comment(f"override_settings: there is no setting named {key!r}.")
                continue
            opts.set(key, value, is_api=True, run_callbacks=False)
        sd_models.reload_model_weights()
        sd_samplers.fix_p_invalid_sampler_and_scheduler(p)
        return process_images_inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            for key, value in stored.items():
                if key == "sd_model_checkpoint" and value is None:
                    continue
                opts.data[key] = value


def _prepare(p) -> None:
    """Seeds, prompts and model name, before scripts' `process`."""
    assert p.prompt if isinstance(p.prompt, list) else p.prompt is not None
    seed = p.seed if isinstance(p.seed, list) else get_fixed_seed(p.seed)
    subseed = p.subseed if isinstance(p.subseed, list) else get_fixed_seed(p.subseed)
    p.restore_faces = bool(p.restore_faces)
    p.tiling = bool(p.tiling)
    if p.restore_faces:
        p.comment("Restore faces is not available in the Studio.")
    if p.tiling:
        p.comment("Tiling is not available in the Studio.")
    if p.refiner_checkpoint not in (None, "", "None", "none"):
        p.refiner_checkpoint_info = sd_models.get_closet_checkpoint_match(p.refiner_checkpoint)
        if p.refiner_checkpoint_info is None:
            raise FieldError(
                "refiner_checkpoint", p.refiner_checkpoint, "one of " + ", ".join(sd_models.checkpoint_tiles())
            )
        flow = shared.sd_model.parameterization == "flow"
        if flow != is_flow(p.refiner_checkpoint_info.filename):  # sigma is not the same in both
            raise FieldError("refiner_checkpoint", p.refiner_checkpoint, f"{'a' if flow else 'no'} flow model")
    if shared.sd_model.parameterization == "flow":
        for name in ("width", "height"):
            if getattr(p, name) % 16:
                raise FieldError(name, getattr(p, name), "a multiple of 16 with this model")
    p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    p.sd_model_hash = shared.sd_model.sd_model_hash
    model_hijack.clear_comments()
    p.fill_fields_from_opts()
    p.setup_prompts()
    n = len(p.all_prompts)
    p.all_seeds = seed if isinstance(seed, list) else [seed + (x if p.subseed_strength == 0 else 0) for x in range(n)]
    p.all_subseeds = subseed if isinstance(subseed, list) else [subseed + x for x in range(n)]


def _batch_of(p, values, n):
    return values[n * p.batch_size : (n + 1) * p.batch_size]


def _sample_batch(p, n: int) -> torch.Tensor | None:
    """Batch ``n`` as pictures (B, 3, H, W) in [0, 1], or None when a script emptied it."""
    p.prompts, p.negative_prompts = _batch_of(p, p.all_prompts, n), _batch_of(p, p.all_negative_prompts, n)
    p.seeds, p.subseeds = _batch_of(p, p.all_seeds, n), _batch_of(p, p.all_subseeds, n)
    shape = (shared.sd_model.latent_channels, p.height // opt_f, p.width // opt_f)
    p.rng = rng.ImageRNG(
        shape,
        p.seeds,
        subseeds=p.subseeds,
        subseed_strength=p.subseed_strength,
        seed_resize_from_h=p.seed_resize_from_h,
        seed_resize_from_w=p.seed_resize_from_w,
    )
    batch = {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    if p.scripts is not None:
        p.scripts.before_process_batch(p, **batch)
    if len(p.prompts) == 0:
        return None
    p.parse_extra_network_prompts()
    if not p.disable_extra_networks:
        extra_networks.activate(p, p.extra_network_data)
    if p.scripts is not None:
        p.scripts.process_batch(p, **{**batch, "prompts": p.prompts})
    p.setup_conds()
    p.extra_generation_params.update(model_hijack.extra_generation_params)
    for comment in model_hijack.comments:
        p.comment(comment)
    if p.n_iter > 1:
        state.job = f"Batch {n + 1} out of {p.n_iter}"
    samples = p.sample(
        conditioning=p.c,
        unconditional_conditioning=p.uc,
        seeds=p.seeds,
        subseeds=p.subseeds,
        subseed_strength=p.subseed_strength,
        prompts=p.prompts,
    )
    if p.scripts is not None:
        post = scripts.PostSampleArgs(samples)
        p.scripts.post_sample(p, post)
        samples = post.samples
    if not getattr(samples, "already_decoded", False):
        samples = decode_latent_batch(p.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
    return torch.clamp((torch.stack(list(samples)).float() + 1.0) / 2.0, min=0.0, max=1.0)


def _finish_image(p, i: int, x_sample: torch.Tensor):
    """(final picture, mask, picture before the overlay) of image ``i`` of the batch."""
    image = Image.fromarray((255.0 * np.moveaxis(x_sample.cpu().numpy(), 0, 2)).astype(np.uint8))
    overlays = p.overlay_images if opts.overlay_inpaint else None
    overlay = overlays[i] if overlays and i < len(overlays) else None
    mask = getattr(p, "mask_for_overlay", None)
    if p.scripts is not None:
        pp = scripts.PostprocessImageArgs(image)
        p.scripts.postprocess_image(p, pp)
        image = pp.image
        ppmo = scripts.PostProcessMaskOverlayArgs(i, mask, overlay)
        p.scripts.postprocess_maskoverlay(p, ppmo)
        mask, overlay = ppmo.mask_for_overlay, ppmo.overlay_image
    image, before = apply_overlay(image, p.paste_to, overlay)
    if p.scripts is not None:
        pp = scripts.PostprocessImageArgs(image)
        p.scripts.postprocess_image_after_composite(p, pp)
        image = pp.image
    return image, mask, before


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    _prepare(p)
    if p.scripts is not None:
        p.scripts.process(p)
    infotexts: list[str] = []
    output: list[Image.Image] = []
    with torch.no_grad(), p.sd_model.ema_scope():
        p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        if state.job_count == -1:
            state.job_count = p.n_iter
        for n in range(p.n_iter):
            p.iteration = n
            state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            sd_models.reload_model_weights()
            pictures = _sample_batch(p, n)
            if pictures is None:
                break
            devices.torch_gc()
            state.nextjob()
            if p.scripts is not None:
                p.scripts.postprocess_batch(p, pictures, batch_number=n)
                p.prompts, p.negative_prompts = _batch_of(p, p.all_prompts, n), _batch_of(p, p.all_negative_prompts, n)
                batch = scripts.PostprocessBatchListArgs(list(pictures))
                p.scripts.postprocess_batch_list(p, batch, batch_number=n)
                pictures = batch.images

            def infotext(index=0, use_main_prompt=False):
                return create_infotext(
                    p,
                    p.prompts,
                    p.seeds,
                    p.subseeds,
                    use_main_prompt=use_main_prompt,
                    index=index,
                    all_negative_prompts=p.negative_prompts,
                )

            save = p.save_samples()
            for i, x_sample in enumerate(pictures):
                p.batch_index = i
                image, mask, _ = _finish_image(p, i, x_sample)
                text = infotext(i)
                if save and p.outpath_samples:
                    images.save_image(
                        image, p.outpath_samples, "", p.seeds[i], p.prompts[i], opts.samples_format, info=text, p=p
                    )
                infotexts.append(text)
                if opts.enable_pnginfo:
                    image.info["parameters"] = text
                output.append(image)
                if mask is not None and opts.return_mask:
                    output.append(mask.convert("RGB"))
        if not infotexts:
            infotexts.append(Processed(p, []).infotext(p, 0))
        first = _add_grid(p, output, infotexts)
    if not p.disable_extra_networks and p.extra_network_data:
        extra_networks.deactivate(p, p.extra_network_data)
    devices.torch_gc()
    res = Processed(
        p,
        images_list=output,
        seed=p.all_seeds[0],
        info=infotexts[0],
        subseed=p.all_subseeds[0],
        index_of_first_image=first,
        infotexts=infotexts,
    )
    if p.scripts is not None:
        p.scripts.postprocess(p, res)
        res.comments = "".join(f"{comment}\n" for comment in p.comments)
    return res


def _add_grid(p, output, infotexts) -> int:
    """Put a grid in front when the settings want one; returns the index of the first single picture."""
    if (
        not (opts.return_grid or opts.grid_save)
        or p.do_not_save_grid
        or (len(output) < 2 and opts.grid_only_if_multiple)
        or not output
    ):
        return 0
    grid = images.image_grid(output, p.batch_size)
    text = create_infotext(p, p.all_prompts, p.all_seeds, p.all_subseeds, use_main_prompt=True)
    if opts.grid_save and p.outpath_grids:
        images.save_image(grid, p.outpath_grids, "grid", p.all_seeds[0], info=text, p=p, grid=True)
    if not opts.return_grid:
        return 0
    if opts.enable_pnginfo:
        grid.info["parameters"] = text
    infotexts.insert(0, text)
    output.insert(0, grid)
    return 1


from modules.processing_img2img import StableDiffusionProcessingImg2Img  # noqa: E402,F401
from modules.processing_txt2img import StableDiffusionProcessingTxt2Img  # noqa: E402,F401
