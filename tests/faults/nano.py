"""The smallest random checkpoints that are a whole SD 1 network: hundreds of pictures in a minute."""

from __future__ import annotations

import compvis
import torch

_YAML = """\
model:
  params:
    parameterization: "eps"
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    scale_factor: 0.18215
    unet_config:
      params: {num_heads: 2}
    cond_stage_config:
      params: {version: tokenizer}
"""


def nano(path, seed: int, width: int = 32):
    """``width``: channels of the text encoder; another width is another architecture."""
    w = compvis._Weights(seed)
    compvis.unet(w, 32, (1, 2), 1, width, (1, 1))
    compvis.vae(w, 32, (1, 1, 1, 1), 1)
    compvis.clip(w, "cond_stage_model.transformer.", width, 1, 64, vocab=49408)
    w["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    path.with_suffix(".yaml").write_text(_YAML)
    return compvis._save(w, path)
