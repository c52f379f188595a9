"""Transformers with joint attention (SD3, Flux, Chroma): text and image tokens in one attention.

Here the negative cannot be a second set of keys alone: the text tokens are changed by every block. So the
negative's own text runs through the blocks beside the prompt's (arXiv 2505.21179), and in every block the
image's queries, keys and values, which the model has computed anyway, meet it once more: z_neg of the image
tokens, for the same rule as everywhere (maths.py). The latents are never duplicated.

One file per family of models says how its blocks treat the text; blocks.py says what such a file answers.
"""
