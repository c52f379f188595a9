"""The Flux doodle's two tokenizers, built from a list of words: no file, no download.

Both take one id a word or sign, lower case; a word outside the list is the unknown word. The word list is stored with
the weights, so that the ids stay what they were trained as.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .flux_arch import TEXT_TOKENS

CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>", "<|unknown|>")
T5_SPECIAL = ("<pad>", "</s>", "<unk>")


def _tokenizer(special: Sequence[str], words: Sequence[str], unknown: str, template: str, **names: str) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([*special, *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, vocabulary[token]) for token in special if token in template]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=TEXT_TOKENS, unk_token=unknown, padding_side="right", **names
    )


def clip_tokenizer(words: Sequence[str]) -> Any:
    """start, words, end, padded with end: what the pooled encoder reads."""
    start, end, unknown = CLIP_SPECIAL
    return _tokenizer(CLIP_SPECIAL, words, unknown, f"{start} $A {end}", bos_token=start, eos_token=end, pad_token=end)


def t5_tokenizer(words: Sequence[str]) -> Any:
    """words, </s>, padded with <pad>: what the sequence encoder reads."""
    pad, end, unknown = T5_SPECIAL
    return _tokenizer(T5_SPECIAL, words, unknown, f"$A {end}", eos_token=end, pad_token=pad)
