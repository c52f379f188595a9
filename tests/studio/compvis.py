"""Random checkpoints in the CompVis single-file layout: the architectures without the training."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

DOODLE_YAML = """\
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "v"
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    scale_factor: 0.18215
    unet_config:
      params: {in_channels: 4, out_channels: 4, model_channels: 64, attention_resolutions: [1, 2, 4], num_res_blocks: 1,
               channel_mult: [1, 2, 2], num_heads: 4, context_dim: 64, transformer_depth: 1}
    first_stage_config:
      params: {embed_dim: 4, ddconfig: {ch: 64, ch_mult: [1, 1, 1, 1], num_res_blocks: 1, z_channels: 4}}
    cond_stage_config:
      params: {version: tokenizer}
"""


class _Weights(dict):
    """Collects named random tensors; every shape is fan-in scaled, norms are 1 and 0."""

    def __init__(self, seed: int):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def tensor(self, name, *shape, scale=1.0):
        fan = max(1, int(torch.tensor(shape[1:]).prod())) if len(shape) > 1 else 1
        self[name] = torch.randn(shape, generator=self.generator) * scale / fan**0.5

    def layer(self, name, *shape, bias=True, scale=1.0):
        self.tensor(f"{name}.weight", *shape, scale=scale)
        if bias:
            self[f"{name}.bias"] = torch.zeros(shape[0])

    def norm(self, name, n):
        self[f"{name}.weight"] = torch.ones(n)
        self[f"{name}.bias"] = 0.1 * torch.randn(n, generator=self.generator)


def _resnet(w, p, cin, cout, emb):
    w.norm(f"{p}.in_layers.0", cin)
    w.layer(f"{p}.in_layers.2", cout, cin, 3, 3)
    w.layer(f"{p}.emb_layers.1", cout, emb)
    w.norm(f"{p}.out_layers.0", cout)
    w.layer(f"{p}.out_layers.3", cout, cout, 3, 3)
    if cin != cout:
        w.layer(f"{p}.skip_connection", cout, cin, 1, 1)


def _transformer(w, p, ch, context, depth, linear):
    one = () if linear else (1, 1)
    w.norm(f"{p}.norm", ch)
    w.layer(f"{p}.proj_in", ch, ch, *one)
    for d in range(depth):
        b = f"{p}.transformer_blocks.{d}"
        for attn, width in (("attn1", ch), ("attn2", context)):
            w.layer(f"{b}.{attn}.to_q", ch, ch, bias=False, scale=2.0)
            w.layer(f"{b}.{attn}.to_k", ch, width, bias=False, scale=2.0)
            w.layer(f"{b}.{attn}.to_v", ch, width, bias=False)
            w.layer(f"{b}.{attn}.to_out.0", ch, ch)
        w.layer(f"{b}.ff.net.0.proj", ch * 8, ch)
        w.layer(f"{b}.ff.net.2", ch, ch * 4)
        for n in ("norm1", "norm2", "norm3"):
            w.norm(f"{b}.{n}", ch)
    w.layer(f"{p}.proj_out", ch, ch, *one)


def unet(w, channels, mult, res, context, depths, linear=False, adm=None, in_channels=4, middle=None):
    """``depths[level]`` transformer blocks (0: no attention); the middle has those of the last level or 1."""
    p, emb = "model.diffusion_model", channels * 4
    w.layer(f"{p}.time_embed.0", emb, channels)
    w.layer(f"{p}.time_embed.2", emb, emb)
    if adm:
        w.layer(f"{p}.label_emb.0.0", emb, adm)
        w.layer(f"{p}.label_emb.0.2", emb, emb)
    w.layer(f"{p}.input_blocks.0.0", channels, in_channels, 3, 3)
    ch, skips, n = channels, [channels], 1
    for level, m in enumerate(mult):
        for _ in range(res):
            _resnet(w, f"{p}.input_blocks.{n}.0", ch, channels * m, emb)
            ch = channels * m
            if depths[level]:
                _transformer(w, f"{p}.input_blocks.{n}.1", ch, context, depths[level], linear)
            skips.append(ch)
            n += 1
        if level < len(mult) - 1:
            w.layer(f"{p}.input_blocks.{n}.0.op", ch, ch, 3, 3)
            skips.append(ch)
            n += 1
    _resnet(w, f"{p}.middle_block.0", ch, ch, emb)
    _transformer(w, f"{p}.middle_block.1", ch, context, middle or depths[-1] or 1, linear)
    _resnet(w, f"{p}.middle_block.2", ch, ch, emb)
    n = 0
    for level in reversed(range(len(mult))):
        for i in range(res + 1):
            block = f"{p}.output_blocks.{n}"
            _resnet(w, f"{block}.0", ch + skips.pop(), channels * mult[level], emb)
            ch = channels * mult[level]
            if depths[level]:
                _transformer(w, f"{block}.1", ch, context, depths[level], linear)
            if level and i == res:
                w.layer(f"{block}.{2 if depths[level] else 1}.conv", ch, ch, 3, 3)
            n += 1
    w.norm(f"{p}.out.0", ch)
    w.layer(f"{p}.out.2", 4, ch, 3, 3)


def _vae_res(w, p, cin, cout):
    w.norm(f"{p}.norm1", cin)
    w.layer(f"{p}.conv1", cout, cin, 3, 3)
    w.norm(f"{p}.norm2", cout)
    w.layer(f"{p}.conv2", cout, cout, 3, 3)
    if cin != cout:
        w.layer(f"{p}.nin_shortcut", cout, cin, 1, 1)


def _vae_mid(w, p, ch):
    _vae_res(w, f"{p}.mid.block_1", ch, ch)
    w.norm(f"{p}.mid.attn_1.norm", ch)
    for n in ("q", "k", "v", "proj_out"):
        w.layer(f"{p}.mid.attn_1.{n}", ch, ch, 1, 1)
    _vae_res(w, f"{p}.mid.block_2", ch, ch)


def vae(w, channels, mult, res, z=4):
    p = "first_stage_model"
    ch = channels
    w.layer(f"{p}.encoder.conv_in", ch, 3, 3, 3)
    for i, m in enumerate(mult):
        for j in range(res):
            _vae_res(w, f"{p}.encoder.down.{i}.block.{j}", ch, channels * m)
            ch = channels * m
        if i < len(mult) - 1:
            w.layer(f"{p}.encoder.down.{i}.downsample.conv", ch, ch, 3, 3)
    _vae_mid(w, f"{p}.encoder", ch)
    w.norm(f"{p}.encoder.norm_out", ch)
    w.layer(f"{p}.encoder.conv_out", 2 * z, ch, 3, 3, scale=0.1)
    w.layer(f"{p}.quant_conv", 2 * z, 2 * z, 1, 1)
    w.layer(f"{p}.post_quant_conv", z, z, 1, 1)
    w.layer(f"{p}.decoder.conv_in", ch, z, 3, 3)
    _vae_mid(w, f"{p}.decoder", ch)
    for i in reversed(range(len(mult))):
        for j in range(res + 1):
            _vae_res(w, f"{p}.decoder.up.{i}.block.{j}", ch, channels * mult[i])
            ch = channels * mult[i]
        if i:
            w.layer(f"{p}.decoder.up.{i}.upsample.conv", ch, ch, 3, 3)
    w.norm(f"{p}.decoder.norm_out", ch)
    w.layer(f"{p}.decoder.conv_out", 3, ch, 3, 3, scale=0.5)


def clip(w, prefix, hidden, layers, inner, vocab=49408):
    p = f"{prefix}text_model"
    w.tensor(f"{p}.embeddings.token_embedding.weight", vocab, hidden, scale=4.0)
    w.tensor(f"{p}.embeddings.position_embedding.weight", 77, hidden)
    w[f"{p}.embeddings.position_ids"] = torch.arange(77)[None]
    for i in range(layers):
        b = f"{p}.encoder.layers.{i}"
        for n in ("k_proj", "v_proj", "q_proj", "out_proj"):
            w.layer(f"{b}.self_attn.{n}", hidden, hidden)
        w.norm(f"{b}.layer_norm1", hidden)
        w.layer(f"{b}.mlp.fc1", inner, hidden)
        w.layer(f"{b}.mlp.fc2", hidden, inner)
        w.norm(f"{b}.layer_norm2", hidden)
    w.norm(f"{p}.final_layer_norm", hidden)


def openclip(w, prefix, hidden, layers, inner, vocab=49408):
    w.tensor(f"{prefix}token_embedding.weight", vocab, hidden, scale=4.0)
    w.tensor(f"{prefix}positional_embedding", 77, hidden)
    w.tensor(f"{prefix}text_projection", hidden, hidden)
    w[f"{prefix}logit_scale"] = torch.tensor(1.0)
    for i in range(layers):
        b = f"{prefix}transformer.resblocks.{i}"
        w.tensor(f"{b}.attn.in_proj_weight", 3 * hidden, hidden)
        w[f"{b}.attn.in_proj_bias"] = torch.zeros(3 * hidden)
        w.layer(f"{b}.attn.out_proj", hidden, hidden)
        w.norm(f"{b}.ln_1", hidden)
        w.norm(f"{b}.ln_2", hidden)
        w.layer(f"{b}.mlp.c_fc", inner, hidden)
        w.layer(f"{b}.mlp.c_proj", hidden, inner)
    w.norm(f"{prefix}ln_final", hidden)


def doodle(path, seed=0):
    """The doodle architecture, fp16, with its yaml beside it."""
    w = _Weights(seed)
    unet(w, 64, (1, 2, 2), 1, 64, (1, 1, 1))
    vae(w, 64, (1, 1, 1, 1), 1)
    clip(w, "cond_stage_model.transformer.", 64, 2, 256)
    path.with_suffix(".yaml").write_text(DOODLE_YAML)
    return _save(w, path)


def sd1(path, seed=1):
    """SD 1's layout (four levels, none below; 768 per token), few channels."""
    w = _Weights(seed)
    unet(w, 64, (1, 1, 1, 1), 2, 768, (1, 1, 1, 0))
    vae(w, 32, (1, 1, 2, 2), 2)
    clip(w, "cond_stage_model.transformer.", 768, 1, 64)
    return _save(w, path)


def sd2(path, seed=2):
    """SD 2's: OpenCLIP, 1024 per token, linear projections, heads of 64 channels."""
    w = _Weights(seed)
    unet(w, 64, (1, 1, 1, 1), 2, 1024, (1, 1, 1, 0), linear=True)
    vae(w, 32, (1, 1, 2, 2), 2)
    openclip(w, "cond_stage_model.model.", 1024, 2, 64)
    return _save(w, path)


def sdxl(path, seed=3):
    """SDXL's: two text encoders (768 + 1280), no attention on the first level, deep transformers, vector 2816."""
    w = _Weights(seed)
    unet(w, 64, (1, 1, 1), 2, 2048, (0, 2, 3), linear=True, adm=2816)
    vae(w, 32, (1, 1, 2, 2), 2)
    clip(w, "conditioner.embedders.0.transformer.", 768, 2, 64)
    openclip(w, "conditioner.embedders.1.model.", 1280, 2, 64)
    return _save(w, path)


def refiner(path, seed=4):
    """The SDXL refiner's: OpenCLIP alone, no attention on the first and last level, deep transformers, vector 2560."""
    w = _Weights(seed)
    unet(w, 64, (1, 1, 1, 1), 2, 1280, (0, 2, 2, 0), linear=True, adm=2560, middle=2)
    vae(w, 32, (1, 1, 2, 2), 2)
    openclip(w, "conditioner.embedders.0.model.", 1280, 2, 64)
    return _save(w, path)


def _save(w, path):
    save_file({k: v.half() if v.is_floating_point() else v for k, v in w.items()}, str(path))
    return path
