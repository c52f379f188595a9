"""The Studio with a transformer in place of its UNet: Flux as Forge calls it, SD3 as A1111 does.

What is theirs: the layout of the blocks, conds that are a dict of a sequence and a pooled vector, the arguments of the
network's forward. The weights are random.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from forge_family import ForgeFamily, Patcher
from torch import nn

WIDTH = 64  # of the Studio's text encoder


def conds_of(model, monkeypatch):
    """The model's texts become {crossattn, vector}; the vector is made of the sequence."""
    encode = model.get_learned_conditioning

    def both(texts):
        from modules.prompt_parser import DictWithShape

        sequence = encode(texts)
        return DictWithShape({"crossattn": sequence, "vector": sequence.std(1)})

    monkeypatch.setattr(model, "get_learned_conditioning", both)


class FluxNetwork(nn.Module):
    """Flux in its authors' layout from latents (rows, 4, h, w) to the prediction."""

    def __init__(self):
        from diffusers import FluxTransformer2DModel
        from nag_bfl import BflFlux

        super().__init__()
        torch.manual_seed(0)
        model = FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 6, 6),
        )  # fmt: skip
        inner = BflFlux(model)
        self.double_blocks, self.single_blocks, self.inner = inner.double_blocks, inner.single_blocks, [inner]
        self.img_in, self.txt_in = model.x_embedder, model.context_embedder
        self.time_in, self.vector_in, self.guidance_in = nn.Linear(256, 32), nn.Linear(WIDTH, 32), nn.Linear(256, 32)
        self.pe_embedder, self.final_layer = model.pos_embed, model.proj_out
        self.guidance_embed = True
        self.requires_grad_(False)

    def forward(self, x, timestep, context, y, guidance=None, control=None, transformer_options=None):
        from nag_bfl import matrices

        from extras.nag.joint.bfl_flux import sinusoids

        h, w = x.shape[2] // 2, x.shape[3] // 2
        img = x.unflatten(2, (h, 2)).unflatten(4, (w, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        places = torch.cartesian_prod(torch.zeros(1), torch.arange(float(h)), torch.arange(float(w)))
        ids = torch.cat([torch.zeros(context.shape[1], 3), places])
        vec = self.time_in(sinusoids(timestep)) + self.vector_in(y) + self.guidance_in(sinusoids(guidance))
        out = self.inner[0](self.img_in(img), self.txt_in(context), vec, matrices(self.pe_embedder(ids)))
        out = self.final_layer(out).unflatten(1, (h, w)).unflatten(3, (4, 2, 2))
        return out.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


class FluxForge(ForgeFamily):
    """Installed into a running Studio for one test."""

    def __init__(self, engine, monkeypatch):
        super().__init__(engine, monkeypatch)
        conds_of(engine.model, monkeypatch)
        unet = Patcher(SimpleNamespace(diffusion_model=FluxNetwork()))
        monkeypatch.setattr(engine.model.forge_objects, "unet", unet)

    def apply_model(self, model, x, t, cond):
        return self.network(
            x, t / 1000, context=cond["crossattn"], y=cond["vector"], guidance=torch.full((len(x),), 3.5), control=None,
            transformer_options=self.options,
        )  # fmt: skip

    def _call(self, denoiser, parts, x, sigma, image_cond):
        n = len(parts)
        self.options = {"cond_or_uncond": [kind for kind, _, _ in parts], "sigmas": sigma}
        self.calls.append(self.options["cond_or_uncond"])
        conds = [cond for _, cond, _ in parts]
        cond = {key: torch.cat([one[key] for one in conds]) for key in ("crossattn", "vector")}
        return denoiser.inner_model(torch.cat([x] * n), torch.cat([sigma] * n), cond=cond).chunk(n)


class SD3Wrapper(nn.Module):
    """A1111's BaseModel: the outermost module, with the transformer in it."""

    def __init__(self):
        from diffusers import SD3Transformer2DModel
        from nag_mmdit import MMDiT

        super().__init__()
        torch.manual_seed(0)
        model = SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=WIDTH, caption_projection_dim=32, pooled_projection_dim=WIDTH,
            pos_embed_max_size=8,
        ).requires_grad_(False)  # fmt: skip
        self.diffusion_model = MMDiT(model)

    def forward(self, x, t, c_crossattn=None, y=None):
        return self.diffusion_model(x, t, context=c_crossattn, y=y)


def become_sd3(engine, monkeypatch):
    """The Studio's model is SD3 for one test."""
    model = engine.model
    conds_of(model, monkeypatch)
    own = model.model
    model.model = SD3Wrapper()
    monkeypatch.setattr(
        type(model), "apply_model", lambda m, x, t, cond: m.model(x, t, c_crossattn=cond["crossattn"], y=cond["vector"])
    )
    return lambda: setattr(model, "model", own)
