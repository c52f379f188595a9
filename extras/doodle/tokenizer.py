"""The standard CLIP tokenizer, from the files in `models/tokenizer`; the folder is the one a WebUI is pointed
at, too."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import arch

FOLDER = Path(__file__).resolve().parents[2] / "models" / "tokenizer"


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """A `transformers.CLIPTokenizer` with the standard 49 408 ids."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(FOLDER), local_files_only=True)


def encode(texts: list[str]) -> Any:
    """Token ids, int64 tensor (len(texts), 77): start, words, end, padded with end as the WebUIs do."""
    import torch

    rows = []
    for text in texts:
        ids = tokenizer()(text, add_special_tokens=False).input_ids[: arch.MAX_TOKENS - 2]
        row = [arch.START_ID, *ids, arch.END_ID]
        rows.append(row + [arch.END_ID] * (arch.MAX_TOKENS - len(row)))
    return torch.tensor(rows)


def write_files(merges_text: str, folder: Path = FOLDER) -> None:
    """Write vocab.json, merges.txt and the configs from CLIP's list of byte-pair merges (48 894 of them are used)."""
    bytes_ = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters = [chr(b) for b in bytes_]
    extra = 0
    for b in range(256):
        if b not in bytes_:
            letters.append(chr(256 + extra))
            extra += 1
    merges = merges_text.split("\n")[1 : 49152 - 256 - 2 + 1]
    vocab = letters + [c + "</w>" for c in letters] + ["".join(m.split()) for m in merges]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    if len(vocab) != arch.VOCAB:
        raise ValueError(f"merges: {len(vocab)} entries, needed {arch.VOCAB}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({t: i for i, t in enumerate(vocab)}, ensure_ascii=False), encoding="utf-8"
    )
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                **special,
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": arch.MAX_TOKENS,
                "do_lower_case": True,
                "add_prefix_space": False,
                "errors": "replace",
            },
            indent=1,
        )
    )
    (folder / "config.json").write_text(
        json.dumps(
            {**arch.text_config().to_dict(), "model_type": "clip_text_model", "architectures": ["CLIPTextModel"]},
            indent=1,
            default=str,
        )
    )
