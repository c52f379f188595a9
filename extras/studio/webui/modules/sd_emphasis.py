"""How ``(emphasised:1.2)`` words change the text encoder's output."""

from __future__ import annotations

import torch


class Emphasis:
    """``z`` is (B, T, C), ``multipliers`` (B, T); `after_transformers` changes z."""

    name = "Base"
    description = ""
    tokens: list
    multipliers: torch.Tensor
    z: torch.Tensor

    def after_transformers(self):
        pass


class EmphasisNone(Emphasis):
    name = "None"
    description = "disable the mechanism entirely and treat (:.1.1) as literal characters"


class EmphasisIgnore(Emphasis):
    name = "Ignore"
    description = "treat all emphasised words as if they have no emphasis"


class EmphasisOriginalNoNorm(Emphasis):
    name = "No norm"
    description = "multiply each word's vector, without restoring the mean"

    def after_transformers(self):
        self.z = self.z * self.multipliers.unsqueeze(-1)


class EmphasisOriginal(Emphasis):
    name = "Original"
    description = "multiply each word's vector, then restore the mean of the whole"

    def after_transformers(self):
        mean = self.z.mean()
        self.z = self.z * self.multipliers.unsqueeze(-1)
        ratio = mean / self.z.mean()
        if torch.isfinite(ratio):  # a text encoder whose output has mean 0 would give NaN
            self.z = self.z * ratio


options = [EmphasisNone, EmphasisIgnore, EmphasisOriginal, EmphasisOriginalNoNorm]


def get_current_option(emphasis_option_name):
    return next((x for x in options if x.name == emphasis_option_name), EmphasisOriginal)


def get_options_descriptions() -> str:
    return ", ".join(f"{x.name}: {x.description}" for x in options)
