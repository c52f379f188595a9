"""One object that owns the model, the queue, the settings, the outputs and the scripts.

The page and the HTTP API both work through it. There is one per process, as `modules.shared` is one.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from extras.studio import bootstrap, worker
from extras.studio import fields as field_rules
from extras.studio.fields import FieldError

INFOTEXT_FIELDS = {  # infotext label -> request field
    "Prompt": "prompt",
    "Negative prompt": "negative_prompt",
    "Steps": "steps",
    "Sampler": "sampler_name",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Seed": "seed",
    "Size-1": "width",
    "Size-2": "height",
    "Variation seed": "subseed",
    "Variation seed strength": "subseed_strength",
    "Seed resize from-1": "seed_resize_from_w",
    "Seed resize from-2": "seed_resize_from_h",
    "Denoising strength": "denoising_strength",
}
TXT2IMG_INFOTEXT_FIELDS = INFOTEXT_FIELDS | {
    "Hires upscale": "hr_scale",
    "Hires upscaler": "hr_upscaler",
    "Hires steps": "hr_second_pass_steps",
    "Hires resize-1": "hr_resize_x",
    "Hires resize-2": "hr_resize_y",
    "Hires sampler": "hr_sampler_name",
    "Hires schedule type": "hr_scheduler",
    "Hires prompt": "hr_prompt",
    "Hires negative prompt": "hr_negative_prompt",
}


class Engine:
    """``models_dir`` holds .safetensors files and tokenizer/; ``extension_dir`` is the extension whose scripts/
    are loaded; pictures go under ``outputs_dir`` only; ``ckpt`` is a checkpoint from anywhere else."""

    def __init__(self, models_dir, extension_dir, outputs_dir, ckpt=None, device: str | None = None):
        self.models_dir, self.extension_dir = Path(models_dir).resolve(), Path(extension_dir).resolve()
        self.outputs_dir = Path(outputs_dir).resolve()
        self.ckpt, self.device = ckpt, device
        self.loaded = False
        bootstrap.install()

    # --- start

    def load(self) -> Engine:
        """Load settings, scripts and the model. CheckpointError or FileNotFoundError when there is no usable model."""
        self._point_paths()
        self._load_scripts()
        self._load_model()
        self.loaded = True
        return self

    def _point_paths(self) -> None:
        from modules import devices, paths, paths_internal, sd_models, shared

        devices.device = devices.torch.device(self.device) if self.device else devices.get_optimal_device()
        shared.device = devices.device
        for module in (paths_internal, paths):
            module.data_path, module.models_path = str(self.outputs_dir), str(self.models_dir)
            module.default_output_dir = str(self.outputs_dir)
        for name in ("txt2img-images", "img2img-images", "txt2img-grids", "img2img-grids"):
            tab, kind = name.split("-")
            shared.opts.data[f"outdir_{tab}_{'samples' if kind == 'images' else 'grids'}"] = str(
                self.outputs_dir / name
            )
        sd_models.model_dir, sd_models.tokenizer_dir = self.models_dir, self.models_dir / "tokenizer"
        sd_models.checkpoints_list.clear()  # an earlier engine's, in the same process
        sd_models.checkpoint_aliases.clear()
        shared.config_filename = str(self.outputs_dir / "settings.json")

    def _load_scripts(self) -> None:
        import gradio as gr
        import networks

        from modules import extensions, script_callbacks, scripts, shared

        extensions.extensions.clear()
        extensions.register(str(self.extension_dir))
        networks.install(self.models_dir / "Lora")
        scripts.load_scripts()
        script_callbacks.ui_settings_callback()
        script_callbacks.before_ui_callback()
        out_dirs = {k: v for k, v in shared.opts.data.items() if k.startswith("outdir_")}
        shared.opts.load(shared.config_filename)
        shared.opts.data.update(out_dirs)  # where pictures go is not a setting here
        with gr.Blocks():
            scripts.scripts_txt2img.setup_ui(False)
            scripts.scripts_img2img.setup_ui(True)

    def _load_model(self) -> None:
        from modules import sd_models, shared

        sd_models.list_models()
        if self.ckpt is not None:
            sd_models.load_model(sd_models.add_checkpoint(self.ckpt))
            return
        if sd_models.get_closet_checkpoint_match(shared.opts.sd_model_checkpoint) is None:
            student = sd_models.get_closet_checkpoint_match("doodle-student.safetensors")
            shared.opts.data["sd_model_checkpoint"] = student.title if student else None
        sd_models.load_model()

    # --- what there is

    @property
    def scripts_txt2img(self):
        from modules import scripts

        return scripts.scripts_txt2img

    @property
    def scripts_img2img(self):
        from modules import scripts

        return scripts.scripts_img2img

    def runner(self, tab: str):
        return self.scripts_img2img if tab == "img2img" else self.scripts_txt2img

    @property
    def model(self):
        from modules import shared

        return shared.sd_model

    @property
    def opts(self):
        from modules import shared

        return shared.opts

    @property
    def state(self):
        from modules import shared

        return shared.state

    def sampler_names(self) -> list[str]:
        from modules import sd_samplers

        return sd_samplers.visible_sampler_names()

    def scheduler_names(self) -> list[str]:
        from modules import sd_schedulers

        return [s.label for s in sd_schedulers.schedulers]

    def upscaler_names(self) -> list[str]:
        """What the hires pass can enlarge with."""
        from modules import shared

        return [*shared.latent_upscale_modes, *(u.name for u in shared.sd_upscalers)]

    def checkpoint_titles(self) -> list[str]:
        from modules import sd_models

        return sd_models.checkpoint_tiles()

    def set_checkpoint(self, name: str) -> str:
        """Load another checkpoint, waiting for the running job; returns its title. FieldError when unknown,
        CheckpointError when it cannot be used: then the old one stays."""
        from modules import sd_models
        from modules.call_queue import queue_lock

        info = sd_models.get_closet_checkpoint_match(name)
        if info is None:
            raise FieldError("sd_model_checkpoint", name, "one of " + ", ".join(self.checkpoint_titles()))
        with queue_lock:
            worker.call(lambda: sd_models.reload_model_weights(info=info))
        return info.title

    def set_options(self, values: dict) -> list[str]:
        """Change settings; returns the names that are not settings. FieldError for an impossible value: then none
        is changed."""
        from modules import shared

        unknown = [k for k in values if k not in self.opts.data_labels]
        checked = {
            k: field_rules.check_setting(k, v, self.opts.data_labels[k]) for k, v in values.items() if k not in unknown
        }
        checkpoint = checked.pop("sd_model_checkpoint", None)
        if checkpoint is not None:
            self.set_checkpoint(checkpoint)
        for key, value in checked.items():
            if key not in ("sd_checkpoint_hash",) and value is not None:
                self.opts.set(key, value, is_api=True)
        self.opts.save(shared.config_filename)
        return unknown

    # --- jobs

    def default_script_args(self, tab: str) -> list:
        """What the scripts' controls hold at first; [0] is "no selectable script"."""
        return [0] + [getattr(c, "value", None) for c in self.runner(tab).inputs[1:]]

    def txt2img(self, fields: dict, script_args=None, *, is_api: bool = False):
        """Run a txt2img job and wait for it; returns `modules.processing.Processed`. FieldError for bad fields."""
        return self._job("txt2img", fields, script_args, is_api)

    def img2img(self, fields: dict, script_args=None, *, is_api: bool = False):
        """As `txt2img`, with `init_images` (PIL pictures) and perhaps a `mask`."""
        return self._job("img2img", fields, script_args, is_api)

    def _job(self, tab: str, fields: dict, script_args, is_api: bool):
        from modules import processing, sd_samplers
        from modules.call_queue import queue_lock

        wanted = field_rules.check(fields, tab == "img2img")
        name = wanted.pop("sampler_name", None) or wanted.pop("sampler_index", None) or "Euler"
        wanted.pop("sampler_index", None)
        wanted["sampler_name"], wanted["scheduler"] = sd_samplers.split_sampler_and_scheduler(
            name, wanted.get("scheduler")
        )
        wanted["override_settings"] = {
            k: field_rules.check_setting(k, v, self.opts.data_labels.get(k))
            for k, v in wanted.get("override_settings", {}).items()
        }
        make = processing.StableDiffusionProcessingTxt2Img
        if tab == "img2img":
            make = processing.StableDiffusionProcessingImg2Img
            wanted |= self._pictures(fields)
        args = list(script_args) if script_args is not None else self.default_script_args(tab)
        with queue_lock, contextlib.closing(make(**wanted)) as p:
            p.is_api = is_api
            p.outpath_samples = getattr(self.opts, f"outdir_{tab}_samples")
            p.outpath_grids = getattr(self.opts, f"outdir_{tab}_grids")
            p.scripts = self.runner(tab)
            p.script_args = tuple(args)
            return worker.call(lambda: self._draw(tab, p))

    def _draw(self, tab: str, p: Any) -> Any:
        from modules import processing

        self.state.begin(job=f"task({tab})")
        try:
            processed = p.scripts.run(p, *p.script_args)
            return processed if processed is not None else processing.process_images(p)
        finally:
            self.state.end()
            self.state.current_image = self.state.current_latent = None

    @staticmethod
    def _pictures(fields: dict) -> dict[str, Any]:
        images = fields.get("init_images") or []
        if not images or any(image is None for image in images):
            raise FieldError("init_images", images or None, "a list of one or more pictures")
        return {"init_images": list(images), "mask": fields.get("mask")}

    def interrupt(self) -> None:
        """Stop the running job; what was already made is returned."""
        self.state.interrupt()

    def skip(self) -> None:
        """Stop the running batch and go on with the next."""
        self.state.skip()

    def progress(self) -> dict:
        """progress in [0, 1], eta_relative in seconds, state; 0 when nothing runs."""
        s = self.state
        if s.job_count == 0:
            return {"progress": 0.0, "eta_relative": 0.0, "state": s.dict(), "textinfo": s.textinfo}
        share = 0.01
        if s.job_count > 0:
            share += s.job_no / s.job_count
            if s.sampling_steps > 0:
                share += s.sampling_step / s.sampling_steps / s.job_count
        elapsed = time.time() - (s.time_start or time.time())
        return {
            "progress": min(share, 1.0),
            "eta_relative": elapsed / share - elapsed,
            "state": s.dict(),
            "textinfo": s.textinfo,
        }

    # --- settings in pictures

    def png_info(self, image) -> dict:
        """{"info", "items", "parameters"} of a PIL picture; info is "" when it has no infotext."""
        from modules import images, infotext_utils, script_callbacks

        info, items = images.read_info_from_image(image)
        params = infotext_utils.parse_generation_parameters(info) if info else {}
        if info:
            script_callbacks.infotext_pasted_callback(info, params)
        return {"info": info or "", "items": items, "parameters": params}

    def read_infotext(self, text: str, tab: str) -> tuple[dict, dict[int, Any]]:
        """({request field: value}, {index into script_args: value}) of an infotext."""
        from modules import infotext_utils, script_callbacks

        params = infotext_utils.parse_generation_parameters(text)
        script_callbacks.infotext_pasted_callback(text, params)
        runner = self.runner(tab)
        labels = INFOTEXT_FIELDS if tab == "img2img" else TXT2IMG_INFOTEXT_FIELDS
        found = {field: params[label] for label, field in labels.items() if params.get(label) not in (None, "", 0)}
        found["negative_prompt"] = params.get("Negative prompt", "")
        if tab == "txt2img" and ("Hires upscale" in params or params.get("Hires resize-1")):
            found["enable_hr"] = True
        for name in ("hr_sampler_name", "hr_scheduler"):
            if str(found.get(name, "")).startswith("Use same"):
                found.pop(name)
        found["override_settings"] = {name: value for _, name, value in infotext_utils.get_override_settings(params)}
        index_of = {id(component): i for i, component in enumerate(runner.inputs) if i}
        script_values = {}
        for pair in runner.infotext_fields:
            field = pair if isinstance(pair, infotext_utils.PasteField) else infotext_utils.PasteField(*pair)
            if id(field.component) in index_of and (value := self._paste_value(field, params)) is not None:
                script_values[index_of[id(field.component)]] = value
        return found, script_values

    @staticmethod
    def _paste_value(field, params):
        """What the field takes from the settings, in the type of its component; None when nothing."""
        from modules import errors

        try:
            value = field.value(params)
            if isinstance(value, dict) and "__type__" in value:
                value = value.get("value")
            default = getattr(field.component, "value", None)
            if value is None or default is None or isinstance(value, type(default)):
                return value
            if isinstance(default, bool):
                return str(value).strip().lower() in ("true", "1", "yes", "on")
            return type(default)(value)
        except Exception:
            errors.report(f"Error reading {field.label or field.function} from an infotext", exc_info=True)
            return None

    def create_api(self, app):
        """Add the /sdapi/v1 routes to a FastAPI app and fire on_app_started; returns the app."""
        from extras.studio import api
        from modules import script_callbacks, shared

        api.add_routes(app, self)
        script_callbacks.app_started_callback(shared.demo, app)
        return app
