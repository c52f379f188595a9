"""Text encoders with the WebUI's prompt language: emphasis, BREAK, and prompts of any length.

A prompt is cut into chunks of 75 tokens, each sent through the encoder with its own start and end token;
the results are put one behind the other, so a prompt has 77, 154, ... vectors.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

from modules import devices, prompt_attention, sd_emphasis, sd_hijack, shared


class PromptChunk:
    """77 token ids and their weights; before it is closed, up to 75."""

    def __init__(self):
        self.tokens: list[int] = []
        self.multipliers: list[float] = []
        self.fixes: list = []


class TextConditionalModel(torch.nn.Module):
    """Base of the wrapped encoders. `forward(texts)` gives (len(texts), 77 * chunks, C)."""

    def __init__(self):
        super().__init__()
        self.hijack = sd_hijack.model_hijack
        self.chunk_length = 75
        self.is_trainable = False
        self.input_key = "txt"
        self.return_pooled = False
        self.legacy_ucg_val = None
        self.comma_token = None
        self.id_start = self.id_end = self.id_pad = None

    def empty_chunk(self) -> PromptChunk:
        chunk = PromptChunk()
        chunk.tokens = [self.id_start] + [self.id_end] * (self.chunk_length + 1)
        chunk.multipliers = [1.0] * (self.chunk_length + 2)
        return chunk

    def get_target_prompt_token_count(self, token_count: int) -> int:
        return math.ceil(max(token_count, 1) / self.chunk_length) * self.chunk_length

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        raise NotImplementedError

    def encode_with_transformers(self, tokens: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _close(self, chunk: PromptChunk) -> PromptChunk:
        short = self.chunk_length - len(chunk.tokens)
        chunk.tokens = [self.id_start, *chunk.tokens, *[self.id_end] * (short + 1)]
        chunk.multipliers = [1.0, *chunk.multipliers, *[1.0] * (short + 1)]
        return chunk

    def tokenize_line(self, line: str) -> tuple[list[PromptChunk], int]:
        """(chunks, token count). A chunk that is full is cut at a comma among its last 20 tokens."""
        weighted = prompt_attention.parse_prompt_attention(line) if shared.opts.emphasis != "None" else [[line, 1.0]]
        chunks: list[PromptChunk] = []
        chunk, count, last_comma = PromptChunk(), 0, -1
        backtrack = shared.opts.comma_padding_backtrack

        def next_chunk():
            nonlocal chunk, count, last_comma
            chunks.append(self._close(chunk))
            chunk, last_comma = PromptChunk(), -1
            count += self.chunk_length

        for tokens, (text, weight) in zip(self.tokenize([text for text, _ in weighted]), weighted, strict=True):
            if text == "BREAK" and weight == -1:
                next_chunk()
                continue
            for token in tokens:
                full = len(chunk.tokens) == self.chunk_length
                if token == self.comma_token:
                    last_comma = len(chunk.tokens)
                elif full and backtrack and last_comma != -1 and len(chunk.tokens) - last_comma <= backtrack:
                    cut = last_comma + 1
                    moved = chunk.tokens[cut:], chunk.multipliers[cut:]
                    chunk.tokens, chunk.multipliers = chunk.tokens[:cut], chunk.multipliers[:cut]
                    next_chunk()
                    chunk.tokens, chunk.multipliers = moved
                if len(chunk.tokens) == self.chunk_length:
                    next_chunk()
                chunk.tokens.append(token)
                chunk.multipliers.append(weight)
        if chunk.tokens or not chunks:
            count += len(chunk.tokens)
            chunks.append(self._close(chunk))
        return chunks, count

    def process_texts(self, texts) -> tuple[list[list[PromptChunk]], int]:
        """(chunks of each text, the longest text's token count)."""
        known = {line: self.tokenize_line(line) for line in dict.fromkeys(texts)}
        return [known[line][0] for line in texts], max((count for _, count in known.values()), default=0)

    def forward(self, texts):
        batch, _ = self.process_texts(texts)
        zs = []
        for i in range(max(len(chunks) for chunks in batch)):
            row = [chunks[i] if i < len(chunks) else self.empty_chunk() for chunks in batch]
            zs.append(self.process_tokens([c.tokens for c in row], [c.multipliers for c in row]))
        if any("(" in x or "[" in x for x in texts) and shared.opts.emphasis != "Original":
            self.hijack.extra_generation_params["Emphasis"] = shared.opts.emphasis
        joined = torch.hstack(zs)
        return (joined, zs[0].pooled) if self.return_pooled else joined

    def process_tokens(self, remade_batch_tokens, batch_multipliers) -> torch.Tensor:
        """One chunk of every prompt: lists of 77 ids and weights to (B, 77, C)."""
        tokens = torch.asarray(remade_batch_tokens).to(devices.device)
        if self.id_end != self.id_pad:
            for i, row in enumerate(remade_batch_tokens):
                tokens[i, row.index(self.id_end) + 1 :] = self.id_pad
        z = self.encode_with_transformers(tokens)
        pooled = getattr(z, "pooled", None)
        emphasis = sd_emphasis.get_current_option(shared.opts.emphasis)()
        emphasis.tokens, emphasis.z = remade_batch_tokens, z
        emphasis.multipliers = torch.asarray(batch_multipliers).to(devices.device)
        emphasis.after_transformers()
        z = emphasis.z
        if pooled is not None:
            z.pooled = pooled
        return z


class FrozenCLIPEmbedderWithCustomWords(TextConditionalModel):
    """A CLIP text encoder. ``kind``: "last" (SD 1, clip skip applies), "penultimate" (SD 2, with final norm) or
    "hidden" (SDXL, without). ``pad`` is the padding id, ``pooled`` whether the pooled vector is wanted too."""

    def __init__(self, transformer, tokenizer, kind="last", pad: int | None = None, pooled: bool = False):
        super().__init__()
        self.wrapped = torch.nn.Module()
        self.wrapped.transformer = transformer
        self.wrapped.tokenizer = tokenizer
        self.tokenizer = tokenizer
        self.kind, self.return_pooled = kind, pooled
        self.comma_token = tokenizer.get_vocab().get(",</w>")
        self.id_start, self.id_end = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.id_pad = self.id_end if pad is None else pad

    def tokenize(self, texts):
        return self.tokenizer(list(texts), truncation=False, add_special_tokens=False)["input_ids"] if texts else []

    def _final_norm(self, z):
        transformer = self.wrapped.transformer
        return getattr(transformer, "text_model", transformer).final_layer_norm(z)

    def encode_with_transformers(self, tokens):
        skip = int(shared.opts.CLIP_stop_at_last_layers)
        deep = self.kind != "last" or skip > 1
        out = self.wrapped.transformer(input_ids=tokens, output_hidden_states=deep)
        if self.kind == "last":
            if not deep:
                return out.last_hidden_state
            return self._final_norm(out.hidden_states[-min(skip, len(out.hidden_states))])
        layer = (
            -skip if self.kind == "hidden" and shared.opts.sdxl_clip_l_skip is True and not self.return_pooled else -2
        )
        z = out.hidden_states[layer]
        if self.kind == "penultimate":
            z = self._final_norm(z)
        if self.return_pooled:
            z = z.clone()
            z.pooled = out.text_embeds
        return z

    def encode_embedding_init_text(self, init_text, nvpt):
        ids = self.tokenizer(init_text, max_length=nvpt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        return self.wrapped.transformer.get_input_embeddings()(ids.to(devices.device)).squeeze(0)


class SDXLConditioner(torch.nn.Module):
    """Both encoders of SDXL, the last one pooled, and the vector of pooled text and picture size. The refiner has the
    last encoder only."""

    def __init__(self, *embedders):
        super().__init__()
        self.embedders = torch.nn.ModuleList(embedders)
        first = embedders[0]
        self.wrapped = SimpleNamespace(tokenizer=first.tokenizer)
        self.tokenizer = first.tokenizer
        self.process_texts = first.process_texts
        self.get_target_prompt_token_count = first.get_target_prompt_token_count
        from diffusers.models.embeddings import Timesteps

        self._numbers = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)

    def forward(self, texts):
        """{crossattn (B, T, 2048), vector (B, 2816)}; negative prompts that are all empty give zeros for the text."""
        width, height = getattr(texts, "width", None) or 1024, getattr(texts, "height", None) or 1024
        *before, last = self.embedders
        last, pooled = last(texts)
        crossattn = torch.cat([*(embedder(texts) for embedder in before), last], dim=-1)
        if getattr(texts, "is_negative_prompt", False) and all(x == "" for x in texts):
            crossattn, pooled = torch.zeros_like(crossattn), torch.zeros_like(pooled)
        numbers = self._picture(height, width, getattr(texts, "is_negative_prompt", False))
        embedded = self._numbers(torch.tensor(numbers, device=pooled.device, dtype=torch.float32)).flatten()
        vector = torch.cat([pooled, embedded.to(pooled.dtype).expand(len(texts), -1)], dim=-1)
        return {"crossattn": crossattn, "vector": vector}

    def _picture(self, height, width, negative) -> list:
        opts = shared.opts
        return [height, width, opts.sdxl_crop_top, opts.sdxl_crop_left, height, width]


class SDXLRefinerConditioner(SDXLConditioner):
    """The refiner is told how beautiful a picture is meant to be: crossattn (B, T, 1280), vector (B, 2560)."""

    def _picture(self, height, width, negative) -> list:
        opts = shared.opts
        score = opts.sdxl_refiner_low_aesthetic_score if negative else opts.sdxl_refiner_high_aesthetic_score
        return [height, width, opts.sdxl_crop_top, opts.sdxl_crop_left, score]


def attach(model, encoders: list, tokenizer) -> None:
    """Give ``model`` its text encoder with the WebUI's prompt language."""
    family = model.architecture.family
    make = FrozenCLIPEmbedderWithCustomWords
    if family == "sdxl":
        stage = SDXLConditioner(
            make(encoders[0], tokenizer, "hidden"), make(encoders[1], tokenizer, "hidden", pad=0, pooled=True)
        )
        counter = stage.embedders[0]
    elif family == "refiner":
        stage = SDXLRefinerConditioner(make(encoders[0], tokenizer, "hidden", pad=0, pooled=True))
        counter = stage.embedders[0]
    else:
        stage = counter = make(encoders[0], tokenizer, *(("penultimate", 0) if family == "sd2" else ("last",)))
    model.cond_stage_model = stage
    sd_hijack.model_hijack.clip = counter
    empty = model.get_learned_conditioning([""])
    model.cond_stage_model_empty_prompt = empty["crossattn"] if isinstance(empty, dict) else empty
