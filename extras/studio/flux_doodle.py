"""The Flux doodle in the Studio: a rectified flow in Flux's layout, with two text encoders and a word list of its own.

Its conditioning is what SDXL's is, {crossattn, vector}: the sequence encoder's (rows, 24, 64) and the pooled one's
(rows, 64). A prompt has 23 words at most; emphasis acts on the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extras.doodle import flux_checkpoint
from extras.doodle.flux_arch import TEXT_TOKENS
from extras.doodle.flux_model import FluxDoodle, velocity
from extras.studio.architectures import Architecture
from extras.studio.checkpoint_files import CheckpointError
from extras.studio.model import DiffusionWrapper, StudioModel

WORDS = TEXT_TOKENS - 1  # the last place is the end's


class FlowWrapper(DiffusionWrapper):
    """Latents in, velocity out. Inside is diffusers' FluxTransformer2DModel."""

    def forward(self, x: Tensor, t: Tensor, c: dict[str, Any]) -> Tensor:
        """x (rows, 4, h, w), t (rows,) from 0 to 1000, c as this file's head says."""
        return velocity(self.diffusion_model, x, t / 1000, (c["crossattn"], c["vector"]))


class FluxTexts(nn.Module):
    """Both encoders, with the WebUI's emphasis. BREAK has no meaning here."""

    def __init__(self, doodle: FluxDoodle):
        super().__init__()
        self.sequence, self.pooled = doodle.sequence, doodle.pooled
        self.tokenizer, self.pooled_tokenizer = doodle.sequence_tokenizer, doodle.pooled_tokenizer

    @property
    def encoders(self) -> list[nn.Module]:
        """In the order in which Flux's LoRAs count them."""
        return [self.pooled, self.sequence]

    def process_texts(self, texts: Sequence[str]) -> tuple[list[list[tuple[int, float]]], int]:
        """((token, weight) of each text, the longest text's token count)."""
        found = [self._tokens(text) for text in texts]
        return found, max(map(len, found), default=0)

    def get_target_prompt_token_count(self, count: int) -> int:
        """Room for a prompt, whatever its length."""
        return WORDS

    def forward(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """{crossattn, vector}; what is too long is cut and told under the picture."""
        from modules import sd_emphasis, sd_hijack, shared

        rows, longest = self.process_texts(texts)
        if longest > WORDS:
            sd_hijack.model_hijack.comments.append(f"A text of {longest} words: this model takes {WORDS}.")
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        rows = [row[:WORDS] for row in rows]
        short = [TEXT_TOKENS - 1 - len(row) for row in rows]
        ids = [[token for token, _ in row] + [end] + [pad] * n for row, n in zip(rows, short, strict=True)]
        device = next(self.sequence.parameters()).device
        emphasis = sd_emphasis.get_current_option(shared.opts.emphasis)()
        emphasis.tokens, emphasis.z = ids, self.sequence(torch.tensor(ids, device=device)).last_hidden_state
        weights = [[weight for _, weight in row] + [1.0] * (n + 1) for row, n in zip(rows, short, strict=True)]
        emphasis.multipliers = torch.tensor(weights, device=device)
        emphasis.after_transformers()
        plain = ["".join(part for part, _ in parts(text)) for text in texts]
        options = {"padding": "max_length", "max_length": TEXT_TOKENS, "truncation": True, "return_tensors": "pt"}
        vector = self.pooled(self.pooled_tokenizer(plain, **options).input_ids.to(device)).pooler_output
        return {"crossattn": emphasis.z, "vector": vector}

    def _tokens(self, text: str) -> list[tuple[int, float]]:
        found = [(part, weight) for part, weight in parts(text) if part.strip()]
        ids = [self.tokenizer(part, add_special_tokens=False).input_ids for part, _ in found]
        return [(token, weight) for one, (_, weight) in zip(ids, found, strict=True) for token in one]


def parts(text: str) -> list[tuple[str, float]]:
    """(text, weight) of a prompt's parts; BREAK is a space."""
    from modules import prompt_attention, shared

    if shared.opts.emphasis == "None":
        return [(text, 1.0)]
    found = prompt_attention.parse_prompt_attention(text)
    return [(" ", 1.0) if (part, weight) == ("BREAK", -1) else (part, weight) for part, weight in found]


def flow_shares() -> Tensor:
    """(1000,) of a rectified flow: what alphas_cumprod is of other models, the share of the signal."""
    noise = torch.linspace(0.001, 1.0, 1000)
    return (1 - noise) ** 2 / ((1 - noise) ** 2 + noise**2)


def load(path: Path, device: Any = "cpu", dtype: torch.dtype = torch.float32) -> StudioModel:
    """The model, its text encoder attached. CheckpointError where the file is none."""
    from modules import sd_hijack

    try:
        doodle, vae = flux_checkpoint.read(Path(path))
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(path, str(error)) from error
    transformer, latents = doodle.transformer, vae.config
    shape = {"in_channels": latents.latent_channels, "cross_attention_dim": doodle.sequence.config.d_model}
    arch = Architecture("flux", shape, dict(latents), [{"words": doodle.words}], "flow", latents.scaling_factor)
    model = StudioModel(arch, transformer, vae, flow_shares(), FlowWrapper(transformer)).to(device, dtype)
    model.cond_stage_model = FluxTexts(doodle).eval().requires_grad_(False).to(device, dtype)
    with torch.no_grad():
        model.cond_stage_model_empty_prompt = model.get_learned_conditioning([""])["crossattn"]
    sd_hijack.model_hijack.clip = model.cond_stage_model
    return model
