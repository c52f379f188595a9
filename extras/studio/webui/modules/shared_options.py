"""The settings the Studio knows, under A1111's names and with A1111's defaults."""

from __future__ import annotations

from modules.options import OptionInfo, options_section

options_templates: dict[str, OptionInfo] = {}
restricted_opts: set[str] = set()
_o = OptionInfo


def _add(identifier, title, **infos):
    options_templates.update(options_section((identifier, title), infos))


_add(
    "saving-images",
    "Saving images/grids",
    samples_save=_o(True, "Always save all generated images"),
    samples_format=_o("png", "File format for images"),
    save_incomplete_images=_o(False, "Save incomplete images"),
    enable_pnginfo=_o(True, "Write infotext to metadata of the generated image"),
    jpeg_quality=_o(80, "Quality for saved jpeg and avif images"),
    grid_save=_o(False, "Always save all generated image grids"),
    grid_format=_o("png", "File format for grids"),
    grid_only_if_multiple=_o(True, "Do not save grids consisting of one picture"),
    return_grid=_o(True, "Show grid in gallery"),
    return_mask=_o(False, "For inpainting, include the greyscale mask in results for web"),
    save_mask=_o(False, "For inpainting, save a copy of the greyscale mask"),
    return_mask_composite=_o(False, "For inpainting, include masked composite in results for web"),
    save_init_img=_o(False, "Save init images when using img2img"),
    save_images_before_highres_fix=_o(False, "Save a copy of image before applying highres fix"),
)
_add(
    "saving-paths",
    "Paths for saving",
    outdir_samples=_o("", "Output directory for images; if empty, defaults to three directories below"),
    outdir_txt2img_samples=_o("outputs/txt2img-images", "Output directory for txt2img images", restrict_api=True),
    outdir_img2img_samples=_o("outputs/img2img-images", "Output directory for img2img images", restrict_api=True),
    outdir_grids=_o("", "Output directory for grids; if empty, defaults to two directories below"),
    outdir_txt2img_grids=_o("outputs/txt2img-grids", "Output directory for txt2img grids", restrict_api=True),
    outdir_img2img_grids=_o("outputs/img2img-grids", "Output directory for img2img grids", restrict_api=True),
)
_add(
    "sd",
    "Stable Diffusion",
    sd_model_checkpoint=_o(None, "Stable Diffusion checkpoint", infotext="Model hash"),
    sd_checkpoint_hash=_o("", "SHA256 hash of the current checkpoint"),
    sd_vae=_o("Automatic", "SD VAE", infotext="VAE"),
    enable_quantization=_o(False, "Enable quantization in K samplers", infotext="Discard penultimate sigma Q"),
    emphasis=_o("Original", "Emphasis mode", infotext="Emphasis"),
    comma_padding_backtrack=_o(20, "Prompt word wrap length limit"),
    CLIP_stop_at_last_layers=_o(1, "Clip skip", infotext="Clip skip"),
    sdxl_clip_l_skip=_o(False, "Clip skip SDXL", infotext="Clip skip SDXL"),
    upcast_attn=_o(False, "Upcast cross attention layer to float32"),
    randn_source=_o("GPU", "Random number generator source.", infotext="RNG"),
    tiling=_o(False, "Tiling", infotext="Tiling"),
    fp8_storage=_o("Disable", "FP8 weight", infotext="FP8 weight"),
    cache_fp16_weight=_o(False, "Cache FP16 weight for LoRA"),
    sdxl_crop_top=_o(0, "crop top coordinate"),
    sdxl_crop_left=_o(0, "crop left coordinate"),
    refiner_switch_by_sample_steps=_o(False, "Switch to refiner by sampling steps instead of model timesteps"),
    hires_fix_refiner_pass=_o("second pass", "Hires fix: which pass to enable refiner for"),
    flux_distilled_cfg=_o(3.5, "Flux dev: distilled guidance, which the model was trained with"),
    sdxl_refiner_low_aesthetic_score=_o(2.5, "SDXL low aesthetic score"),
    sdxl_refiner_high_aesthetic_score=_o(6.0, "SDXL high aesthetic score"),
)
_add(
    "img2img",
    "img2img",
    inpainting_mask_weight=_o(1.0, "Inpainting conditioning mask strength", infotext="Conditional mask weight"),
    initial_noise_multiplier=_o(1.0, "Noise multiplier for img2img", infotext="Noise multiplier"),
    img2img_extra_noise=_o(0.0, "Extra noise multiplier for img2img and hires fix", infotext="Extra noise"),
    img2img_color_correction=_o(False, "Apply color correction to img2img results to match original colors."),
    img2img_fix_steps=_o(False, "With img2img, do exactly the amount of steps the slider specifies."),
    img2img_background_color=_o("#ffffff", "With img2img, fill transparent parts with this color."),
    overlay_inpaint=_o(True, "Overlay original for inpaint"),
)
_add(
    "optimizations",
    "Optimizations",
    batch_cond_uncond=_o(True, "Batch cond/uncond"),
    s_min_uncond=_o(0.0, "Negative Guidance minimum sigma", infotext="NGMS"),
    s_min_uncond_all=_o(False, "Negative Guidance minimum sigma all steps", infotext="NGMS all steps"),
    skip_early_cond=_o(0.0, "Ignore negative prompt during early sampling", infotext="Skip Early CFG"),
    pad_cond_uncond=_o(False, "Pad prompt/negative prompt", infotext="Pad conds"),
    pad_cond_uncond_v0=_o(False, "Pad prompt/negative prompt (v0)", infotext="Pad conds v0"),
    persistent_cond_cache=_o(True, "Persistent cond cache"),
    token_merging_ratio=_o(0.0, "Token merging ratio", infotext="Token merging ratio"),
    token_merging_ratio_img2img=_o(0.0, "Token merging ratio for img2img"),
    token_merging_ratio_hr=_o(0.0, "Token merging ratio for high-res pass", infotext="Token merging ratio hr"),
)
_add(
    "compatibility",
    "Compatibility",
    use_old_emphasis_implementation=_o(False, "Use old emphasis implementation."),
    use_old_scheduling=_o(False, "Use old prompt editing timelines.", infotext="Old prompt editing timelines"),
    use_old_karras_scheduler_sigmas=_o(False, "Use old karras scheduler sigmas (0.1 to 10)."),
    no_dpmpp_sde_batch_determinism=_o(False, "Do not make DPM++ SDE deterministic across different batch sizes."),
    use_old_hires_fix_width_height=_o(False, "For hires fix, use width/height sliders to set final resolution."),
    hires_fix_use_firstpass_conds=_o(False, "For hires fix, calculate conds of second pass using first pass networks."),
)
_add(
    "infotext",
    "Infotext",
    add_model_hash_to_info=_o(True, "Add model hash to infotext"),
    add_model_name_to_info=_o(True, "Add model name to infotext"),
    lora_add_hashes_to_infotext=_o(True, "Add Lora hashes to infotext"),
    add_vae_hash_to_info=_o(True, "Add VAE hash to infotext"),
    add_vae_name_to_info=_o(True, "Add VAE name to infotext"),
    add_version_to_infotext=_o(True, "Add program version to infotext"),
    add_user_name_to_info=_o(False, "Add user name to infotext when authenticated"),
    disable_weights_auto_swap=_o(True, "Disregard checkpoint information from pasted infotext"),
    infotext_skip_pasting=_o([], "Disregard fields from pasted infotext"),
    infotext_styles=_o("Apply if any", "Infer styles from prompts of pasted infotext"),
    send_seed=_o(True, "Send seed when sending prompt or image to other interface"),
    send_size=_o(True, "Send size when sending prompt or image to another interface"),
)
_add(
    "ui",
    "Live previews",
    live_previews_enable=_o(True, "Show live previews of the created image"),
    show_progress_every_n_steps=_o(10, "Live preview display period"),
    show_progress_type=_o("Approx cheap", "Live preview method"),
    live_preview_content=_o("Prompt", "Live preview subject"),
    live_previews_image_format=_o("png", "Live preview file format"),
    show_progress_grid=_o(True, "Show previews of all images generated in a batch as a grid"),
)
_add(
    "sampler-params",
    "Sampler parameters",
    hide_samplers=_o([], "Hide samplers in user interface"),
    eta_ddim=_o(0.0, "Eta for DDIM", infotext="Eta DDIM"),
    eta_ancestral=_o(1.0, "Eta for k-diffusion samplers", infotext="Eta"),
    s_churn=_o(0.0, "sigma churn", infotext="Sigma churn"),
    s_tmin=_o(0.0, "sigma tmin", infotext="Sigma tmin"),
    s_tmax=_o(0.0, "sigma tmax", infotext="Sigma tmax"),
    s_noise=_o(1.0, "sigma noise", infotext="Sigma noise"),
    sigma_min=_o(0.0, "sigma min", infotext="Schedule min sigma"),
    sigma_max=_o(0.0, "sigma max", infotext="Schedule max sigma"),
    rho=_o(0.0, "rho", infotext="Schedule rho"),
    eta_noise_seed_delta=_o(0, "Eta noise seed delta", infotext="ENSD"),
    always_discard_next_to_last_sigma=_o(
        False, "Always discard next-to-last sigma", infotext="Discard penultimate sigma"
    ),
    sgm_noise_multiplier=_o(False, "SGM noise multiplier", infotext="SGM noise multiplier"),
)
_add(
    "face",
    "Face restoration",
    face_restoration=_o(False, "Restore faces"),
    face_restoration_model=_o("CodeFormer", "Face restoration model"),
)
_add(
    "decoding",
    "VAE",
    sd_vae_encode_method=_o("Full", "VAE type for encode", infotext="VAE Encoder"),
    sd_vae_decode_method=_o("Full", "VAE type for decode", infotext="VAE Decoder"),
)
