"""The text encoder in training: the same CLIP text model with a token table of only the words that captions hold.

`expand` gives every other token of the standard vocabulary the row of the unknown word; 49 408 rows then
compress to little.
"""

from __future__ import annotations

import torch

from . import arch, captions, tokenizer


class CompactText(torch.nn.Module):
    """CLIP text model over a compact vocabulary. forward: standard ids (B, 77) -> last hidden state (B, 77, 64)."""

    def __init__(self):
        super().__init__()
        from transformers import CLIPTextModel

        ids = {arch.START_ID, arch.END_ID}
        for word in captions.words():
            ids |= set(tokenizer.tokenizer()(word, add_special_tokens=False).input_ids)
        self.ids = sorted(ids)
        lookup = torch.zeros(arch.VOCAB, dtype=torch.long)  # 0: the unknown word
        lookup[torch.tensor(self.ids)] = torch.arange(1, len(self.ids) + 1)
        self.register_buffer("lookup", lookup, persistent=False)
        config = arch.text_config(len(self.ids) + 1)
        config._attn_implementation = "eager"
        self.model = CLIPTextModel(config)
        for name, parameter in self.model.named_parameters():
            if name.endswith("final_layer_norm.bias"):
                # A zero-mean output would make the WebUIs' emphasis (which restores the mean) divide 0 by 0.
                torch.nn.init.constant_(parameter, 0.25)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=self.lookup[ids]).last_hidden_state

    def expand(self) -> torch.nn.Module:
        """The same encoder as a plain `CLIPTextModel` over the standard vocabulary."""
        from transformers import CLIPTextModel

        full = CLIPTextModel(arch.text_config())
        state = dict(self.model.state_dict())
        table = next(k for k in state if k.endswith("token_embedding.weight"))
        state[table] = state[table][self.lookup]
        full.load_state_dict(state, strict=False)
        return full.eval()
