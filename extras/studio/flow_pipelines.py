"""Flux, SD3 and Chroma in the Studio: opened, and their texts encoded, by diffusers.

The conditioning is {crossattn, vector}, as SDXL's: the sequence, and beside it the pooled vector, or Chroma's mask.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extras.doodle import flux_model
from extras.doodle.flux_model import pack, unpack
from extras.studio import pipeline_folders
from extras.studio.architectures import Architecture
from extras.studio.checkpoint_files import CheckpointError
from extras.studio.flux_doodle import flow_shares, parts
from extras.studio.model import DiffusionWrapper, StudioModel

WORDS = {"flux": 512, "sd3": 256, "chroma": 512}  # tokens of T5, as the pipelines have it
_SCHNELL = 256


class FlowNetwork(DiffusionWrapper):
    """Latents in, velocity out, both in the sampler's precision. Inside is diffusers' transformer."""

    def forward(self, x: Tensor, t: Tensor, c: dict[str, Tensor]) -> Tensor:
        """x (rows, channels, h, w), t (rows,) from 0 to 1000, c as this file's head says."""
        like = next(self.diffusion_model.parameters())
        text, beside = c["crossattn"].to(like), c["vector"].to(like.device)
        return self.velocity(x.to(like), t.to(like), text, beside).to(x)

    def velocity(self, x: Tensor, t: Tensor, text: Tensor, beside: Tensor) -> Tensor:
        """The same in the network's own precision."""
        raise NotImplementedError


class FluxNetwork(FlowNetwork):
    """Flux.1: two pixels by two are a token; dev takes its distilled guidance as a number."""

    def velocity(self, x: Tensor, t: Tensor, text: Tensor, beside: Tensor) -> Tensor:
        from modules import shared

        guidance = None
        if self.diffusion_model.config.guidance_embeds:
            guidance = torch.full((len(x),), float(shared.opts.flux_distilled_cfg), device=x.device)
        return flux_model.velocity(self.diffusion_model, x, t / 1000, (text, beside.to(text)), guidance)


class ChromaNetwork(FlowNetwork):
    """Chroma: Flux's tokens, no pooled vector, the text's padding masked."""

    def velocity(self, x: Tensor, t: Tensor, text: Tensor, beside: Tensor) -> Tensor:
        tokens, places = pack(x)
        mask = beside.to(text)  # numbers, as the pipeline gives them: added to the attention's scores
        return unpack(
            self.diffusion_model(
                hidden_states=tokens,
                encoder_hidden_states=text,
                timestep=t / 1000,
                img_ids=places,
                txt_ids=x.new_zeros(text.shape[1], 3),
                attention_mask=torch.cat([mask, mask.new_ones(len(x), tokens.shape[1])], 1),
                return_dict=False,
            )[0],
            x,
        )


class SD3Network(FlowNetwork):
    """SD3 and SD3.5."""

    def velocity(self, x: Tensor, t: Tensor, text: Tensor, beside: Tensor) -> Tensor:
        return self.diffusion_model(
            hidden_states=x,
            timestep=t,
            encoder_hidden_states=text,
            pooled_projections=beside.to(text),
            return_dict=False,
        )[0]


NETWORKS = {"flux": FluxNetwork, "sd3": SD3Network, "chroma": ChromaNetwork}


class FlowModel(StudioModel):
    """``scheduler``: its settings in diffusers."""

    scheduler: dict[str, Any]

    def flow_shift(self, pixels: int) -> float:
        return shift_of(self.scheduler, pixels)

    def take_over(self, other: StudioModel) -> None:
        super().take_over(other)
        self.scheduler = other.scheduler


class PipelineTexts(nn.Module):
    """The pipeline's own encoders. They know no weights and no BREAK: these are taken out, and it says so."""

    def __init__(self, pipe: Any, family: str, room: int):
        super().__init__()
        names = ("text_encoder", "text_encoder_2", "text_encoder_3")
        self.encoders = nn.ModuleList(e for e in (getattr(pipe, name, None) for name in names) if e is not None)
        object.__setattr__(self, "pipe", pipe)
        self.family, self.room = family, room
        tokenizers = [getattr(pipe, f"tokenizer{n}", None) for n in ("_3", "_2", "")]
        self.tokenizer = next(t for t in tokenizers if t is not None)  # T5's, which sees the longest text

    def process_texts(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """(tokens of each text, the longest text's token count)."""
        ids = [self.tokenizer(plain(text), add_special_tokens=False).input_ids for text in texts]
        return ids, max(map(len, ids), default=0)

    def get_target_prompt_token_count(self, count: int) -> int:
        """Room for a prompt, whatever its length: its end takes a token."""
        return self.room - 1

    def forward(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """{crossattn, vector}; what is left out is told under the picture."""
        from modules import sd_hijack

        comments = sd_hijack.model_hijack.comments
        if any(weight != 1 for text in texts for _, weight in parts(text)):
            comments.append("Weights in a prompt, (word:1.3), have no effect with this model and were taken out.")
        longest = self.process_texts(texts)[1]
        if longest > self.room - 1:
            comments.append(f"A text of {longest} tokens: this model takes {self.room - 1}.")
        given: dict[str, Any] = {"prompt": [plain(text) for text in texts], "device": self.pipe.device}
        given["max_sequence_length"] = self.room
        if self.family == "flux":
            crossattn, vector, _ = self.pipe.encode_prompt(**given, prompt_2=None)
        elif self.family == "sd3":
            crossattn, _, vector, _ = self.pipe.encode_prompt(
                **given, prompt_2=None, prompt_3=None, do_classifier_free_guidance=False
            )
        else:
            crossattn, _, vector, *_ = self.pipe.encode_prompt(**given, do_classifier_free_guidance=False)
        return {"crossattn": crossattn, "vector": vector}


def plain(text: str) -> str:
    """The text without the WebUI's signs."""
    return "".join(part for part, _ in parts(text)).strip()


def shift_of(scheduler: dict, pixels: int) -> float:
    """How far a scheduler of diffusers moves the sigmas s of an equidistant grid towards noise: the m in
    m s / (1 + (m - 1) s), for a picture of so many pixels; 1 = not at all."""
    if not scheduler.get("use_dynamic_shifting", False):
        return float(scheduler.get("shift", 1.0))
    low, high = scheduler.get("base_image_seq_len", 256), scheduler.get("max_image_seq_len", 4096)
    first, last = scheduler.get("base_shift", 0.5), scheduler.get("max_shift", 1.15)
    mu = first + (pixels / 256 - low) * (last - first) / (high - low)
    return mu if scheduler.get("time_shift_type") == "linear" else math.exp(mu)


def open_folder(path: Path) -> Any:
    """diffusers' pipeline, in the precision of its files (float32, else bfloat16). CheckpointError where it cannot be
    opened."""
    import diffusers

    path = Path(path)
    name, precision = pipeline_folders.inspect(path), _precision(path)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    try:
        return getattr(diffusers, name).from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, torch_dtype=precision
        )
    except Exception as error:
        raise CheckpointError(path, f"it cannot be opened ({type(error).__name__}: {error})"[:400]) from error


def load(path: Path, device: Any = "cpu") -> StudioModel:
    """The model, its text encoders attached; the VAE in float32. CheckpointError where it cannot be opened."""
    from modules import sd_hijack

    pipe = open_folder(path)
    family = pipeline_folders.KINDS[pipe.__class__.__name__]
    vae, transformer = pipe.vae.to(torch.float32), pipe.transformer
    room = WORDS[family]
    if family == "flux" and not transformer.config.guidance_embeds:
        room = _SCHNELL
    shape = {"in_channels": vae.config.latent_channels, "cross_attention_dim": transformer.config.joint_attention_dim}
    config = {k: v for k, v in transformer.config.items() if not k.startswith("_")} | shape
    shift, scale = vae.config.shift_factor or 0.0, vae.config.scaling_factor
    text = [{"pipeline": pipe.__class__.__name__}]
    arch = Architecture(family, config, dict(vae.config), text, "flow", scale, shift_factor=shift)
    network = NETWORKS[family](transformer)
    model = FlowModel(arch, transformer, vae, flow_shares(), network)
    model.scheduler = dict(pipe.scheduler.config)
    model.cond_stage_model = PipelineTexts(pipe, family, room)
    model.eval().requires_grad_(False).to(device)
    with torch.no_grad():
        model.cond_stage_model_empty_prompt = model.get_learned_conditioning([""])["crossattn"]
    sd_hijack.model_hijack.clip = model.cond_stage_model
    return model


def _precision(path: Path) -> torch.dtype:
    from safetensors import safe_open

    first = next(iter(sorted((path / "transformer").glob("*.safetensors"))))
    try:
        with safe_open(str(first), "pt") as file:
            dtype = file.get_slice(next(iter(file.keys()))).get_dtype()
    except Exception as error:
        raise CheckpointError(path, f"{first.name} cannot be read ({error})") from None
    return torch.float32 if dtype == "F32" else torch.bfloat16
