"""Which checkpoints there are, and which one is loaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch

from extras.studio.pipeline_folders import fingerprint, is_pipeline
from modules import devices, script_callbacks, sd_hijack, sd_hijack_clip, shared

checkpoints_list: dict[str, CheckpointInfo] = {}
checkpoint_aliases: dict[str, CheckpointInfo] = {}
model_dir: Path | None = None
tokenizer_dir: Path | None = None
_hashes: dict[tuple, str] = {}


class CheckpointInfo:
    """One checkpoint: a file, or a folder in diffusers' layout. ``title`` is "name [hash]" once the hash is known."""

    def __init__(self, filename):
        self.filename = os.path.abspath(filename)
        self.name = os.path.basename(self.filename)
        self.name_for_extra = self.model_name = os.path.splitext(self.name)[0]
        self.sha256: str | None = None
        self.hash = self.shorthash = None
        self.title = self.short_title = self.name
        self.is_safetensors = self.filename.lower().endswith(".safetensors")
        self.metadata: dict = {}
        self.ids = [self.name, self.model_name, self.title, self.filename]

    def register(self) -> None:
        checkpoints_list[self.title] = self
        for identifier in self.ids:
            checkpoint_aliases[identifier] = self

    def calculate_shorthash(self) -> str:
        """Hash the file or folder (once per content) and take it into the title."""
        if self.sha256 is None:
            stat = os.stat(self.filename)
            key = (self.filename, stat.st_size, stat.st_mtime_ns)
            if key not in _hashes:
                _hashes[key] = _digest(self.filename)
            self.sha256 = _hashes[key]
            self.hash = self.shorthash = self.sha256[:10]
            checkpoints_list.pop(self.title, None)
            self.title = f"{self.name} [{self.shorthash}]"
            self.short_title = f"{self.name_for_extra} [{self.shorthash}]"
            self.ids += [
                self.shorthash,
                self.sha256,
                self.title,
                self.short_title,
                f"{self.model_name} [{self.shorthash}]",
            ]
            self.register()
        return self.shorthash


def _digest(filename: str) -> str:
    if os.path.isdir(filename):
        return fingerprint(filename)
    with open(filename, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def list_models() -> None:
    """Scan the models folder, and flux/ in it, for files and diffusers' folders; checkpoints registered from elsewhere
    stay."""
    elsewhere = [
        c for c in checkpoints_list.values() if Path(c.filename).parent not in _folders() and os.path.exists(c.filename)
    ]
    known = {c.filename: c for c in checkpoints_list.values()}
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    files = [file for folder in _folders() for file in sorted(folder.glob("*.safetensors"))]
    files += [found for folder in _folders() for found in sorted(folder.glob("*")) if is_pipeline(found)]
    for file in files:
        info = known.get(os.path.abspath(file)) or CheckpointInfo(file)
        info.register()
    for info in elsewhere:
        info.register()


def _folders() -> list[Path]:
    return [] if model_dir is None else [Path(model_dir), Path(model_dir) / "flux"]


def add_checkpoint(filename) -> CheckpointInfo:
    """Register a file outside the models folder."""
    info = checkpoint_aliases.get(os.path.abspath(filename)) or CheckpointInfo(filename)
    info.register()
    return info


def checkpoint_tiles() -> list[str]:
    return [c.title for c in checkpoints_list.values()]


def get_closet_checkpoint_match(search_string):
    """The checkpoint of that title, name, hash or path, else the shortest title that contains the text."""
    if not search_string:
        return None
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    found = [c for c in checkpoints_list.values() if search_string in c.title]
    return min(found, key=lambda c: len(c.title)) if found else None


get_closest_checkpoint_match = get_closet_checkpoint_match


def select_checkpoint() -> CheckpointInfo:
    """The checkpoint of the setting, else the first one. FileNotFoundError when there are none."""
    info = get_closet_checkpoint_match(shared.opts.sd_model_checkpoint)
    if info is not None:
        return info
    if not checkpoints_list:
        raise FileNotFoundError(
            f"no checkpoint was found in {model_dir}: put a .safetensors file there or name one with --ckpt"
        )
    return next(iter(checkpoints_list.values()))


class ModelData:
    """What A1111 keeps of the loaded model."""

    @property
    def sd_model(self):
        return shared.sd_model

    def get_sd_model(self):
        return shared.sd_model

    def set_sd_model(self, v, already_loaded=False):
        shared.sd_model = v


model_data = ModelData()


def _build(info: CheckpointInfo):
    from transformers import CLIPTokenizer

    from extras.studio import checkpoints
    from extras.studio.checkpoint_files import is_flux_doodle

    if is_pipeline(info.filename):
        from extras.studio import flow_pipelines

        return flow_pipelines.load(info.filename, devices.device)
    if is_flux_doodle(info.filename):
        from extras.studio import flux_doodle

        return flux_doodle.load(info.filename, devices.device, devices.dtype)
    model, folder, encoders = checkpoints.load(info.filename, tokenizer_dir, devices.device, devices.dtype)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    tokenizer.model_max_length = int(1e9)  # prompts are cut into chunks, never truncated: no warning either
    with torch.no_grad():
        sd_hijack_clip.attach(model, encoders, tokenizer)
    return model


def load_model(checkpoint_info=None, already_loaded_state_dict=None):
    """Load a checkpoint and make it `shared.sd_model`. CheckpointError when it cannot be; the old model stays."""
    import networks

    info = checkpoint_info or select_checkpoint()
    clip_before = sd_hijack.model_hijack.clip
    try:
        fresh = _build(info)
    except Exception:
        sd_hijack.model_hijack.clip = clip_before
        raise
    current = shared.sd_model
    if current is not None and current.architecture.same_network(fresh.architecture):
        # as A1111: the same network keeps its object (and whatever hooks it) and gets other weights
        current.take_over(fresh)
        sd_hijack.model_hijack.clip = clip_before
        fresh = current
    info.calculate_shorthash()
    fresh.sd_checkpoint_info, fresh.sd_model_hash, fresh.sd_model_checkpoint = info, info.shorthash, info.filename
    shared.sd_model = fresh
    networks.reattach(fresh)
    if not SkipWritingToConfig.skip:
        shared.opts.data["sd_model_checkpoint"] = info.title
        shared.opts.data["sd_checkpoint_hash"] = info.sha256
    script_callbacks.model_loaded_callback(fresh)
    return fresh


def reload_model_weights(sd_model=None, info=None, forced_reload=False):
    """Make the model be the one of ``info`` or of the settings; does nothing when it is already."""
    info = info or select_checkpoint()
    current = shared.sd_model
    if current is not None and not forced_reload and current.sd_checkpoint_info.filename == info.filename:
        return current
    return load_model(info)


class SkipWritingToConfig:
    """While open, loading a checkpoint does not make it the chosen one: the next batch goes back."""

    skip = False

    def __enter__(self):
        self.previous, SkipWritingToConfig.skip = SkipWritingToConfig.skip, True
        return self

    def __exit__(self, *exc):
        SkipWritingToConfig.skip = self.previous


def apply_token_merging(sd_model, token_merging_ratio):
    """The Studio has no token merging."""


def apply_alpha_schedule_override(sd_model, p=None):
    """The Studio keeps each model's own noise schedule."""


def unload_model_weights(sd_model=None, info=None):
    shared.sd_model = None
